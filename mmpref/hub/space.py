"""A demo Space of a published adapter: a Gradio page where base and adapter answer side by side.

The page needs plain transformers and PEFT, not mmpref. What it loads, it loads at the commits that it names.
"""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from mmpref.errors import UsageError
from mmpref.hub._local_files import CARD
from mmpref.hub._remote import Content
from mmpref.hub.cards.markdown import code
from mmpref.hub.cards.merge import merge_own_text
from mmpref.hub.publish import publish_folder
from mmpref.hub.published import Published
from mmpref.hub.target import find_target, other_run
from mmpref.hub_ids import is_commit, is_hub_id
from mmpref.licence import metadata_of
from mmpref.run.manifest import MANIFEST
from mmpref.run.scratch import scratch
from mmpref.text_files import read_text
from mmpref.version import __version__

GRADIO = "6.31.0"
"""The version that the page was written for, and seen with."""
APP, REQUIREMENTS = "app.py", "requirements.txt"
_OWN = (APP, REQUIREMENTS)
_OF_A_NEW_SPACE = (".gitattributes", CARD)
"""What the Hub makes with a Space: whatever else is there is somebody's page, of any kind, and a demo replaces it."""


def demo_id(adapter: str) -> str:
    """The Space of an adapter's repository."""
    return f"{adapter}-demo"


def base_of(manifest: Mapping[str, Any], base_hub_id: str | None) -> tuple[str, str | None]:
    """Id and commit of the base on the Hub.

    Raises:
        UsageError: it is not there, it runs code of its own, or what was trained writes no answers.
    """
    model = manifest["model"]
    if "held_out" in manifest:
        raise UsageError("A reward model writes no answers that a demo could show.", "Leave --space out.")
    if manifest["recipe"].get("trust_remote_code"):
        raise UsageError("The base runs code of its own, which a demo does not.", "Leave --space out.")
    on_hub = is_hub_id(model["id"]) and is_commit(model.get("revision"))
    if base_hub_id and not (on_hub and base_hub_id == model["id"]):
        return base_hub_id, None
    if not on_hub:
        raise UsageError(
            f"A demo loads its base from the Hub, and {model['id']} is not there.",
            "Name it with --base-hub-id NAMESPACE/NAME.",
        )
    return str(model["id"]), str(model["revision"])


def check_space(
    adapter: str, manifest: Mapping[str, Any], base_hub_id: str | None, *, private: bool, replace: bool, **where: Any
) -> None:
    """Check, before anything is published, that the demo can be.

    Args:
        adapter: its repository.
        where: ``token`` and ``endpoint``.

    Raises:
        UsageError: as of `base_of`.
        HubError: no access, or the Space is another run's or somebody's own.
    """
    base_of(manifest, base_hub_id)
    target = find_target(demo_id(adapter), "space", private=private, **where)
    held = [file for file in target.files if file not in _OF_A_NEW_SPACE]
    if held and target.run != manifest["recipe_hash"] and not replace:
        raise other_run(target.repo_id, held[0], target.run)


def publish_space(
    path: Path,
    manifest: Mapping[str, Any],
    adapter: Published,
    base_hub_id: str | None = None,
    *,
    private: bool = False,
    replace: bool = False,
    **where: Any,
) -> Published:
    """Make or renew the demo Space of an adapter that was just published.

    Args:
        path, manifest: of the run.
        base_hub_id: the Hub id that stands for a base model that is local here.
        where: ``token`` and ``endpoint``, as of `mmpref.hub.publish.publish_folder`.

    Raises:
        UsageError: as of `base_of`.
        HubError: the Hub refuses, or does not answer.
    """
    base, revision = base_of(manifest, base_hub_id)
    card = read_text(path / CARD) if (path / CARD).is_file() else ""
    with scratch("space") as stage:
        run = manifest["recipe_hash"]
        quantization = manifest.get("quantization")
        files = {
            APP: app_text(base, revision, adapter.repo_id, adapter.commit, quantization),
            REQUIREMENTS: requirements_text(bool(quantization)),
            CARD: _card(base, adapter.repo_id, run, metadata_of(card) or {}),
            MANIFEST: json.dumps({"command": "publish --space", "recipe_hash": run}, indent=2) + "\n",
        }
        for name, text in files.items():
            (stage / name).write_text(text, encoding="utf-8")
        content = Content(
            stage,
            f"Demo of {adapter.repo_id}",
            merge_card=merge_own_text,
            guarded=_OWN,
            run=run,
            replace=replace,
        )
        return publish_folder(content, demo_id(adapter.repo_id), "space", private=private, **where)


def app_text(
    base: str, revision: str | None, adapter: str, adapter_revision: str, quantization: Mapping[str, Any] | None = None
) -> str:
    """The page's program.

    Args:
        revision, adapter_revision: commits; of a base that is only named there is none.
        quantization: the arguments of ``BitsAndBytesConfig`` that the base was loaded with for training.
    """
    import jinja2

    name = adapter.split("/")[-1]
    values = {
        "base": base,
        "revision": revision,
        "adapter": adapter,
        "adapter_revision": adapter_revision,
        "title": name,
        "heading": f"# {name}\n`{base}` and the same with `{adapter}`. Greedy answers to one question about one image.",
    }
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, keep_trailing_newline=True, trim_blocks=True, lstrip_blocks=True
    )
    template = (Path(__file__).parent / "space_app.py.j2").read_text(encoding="utf-8")
    return environment.from_string(template).render(
        version=__version__,
        quantization=repr(dict(quantization)) if quantization else "",
        **{key: repr(value) for key, value in values.items()},
    )


def requirements_text(quantized: bool = False) -> str:
    """What the page needs beside Gradio, which its card names; as it is installed here."""
    pinned = [f"{name}=={importlib.metadata.version(name)}" for name in ("transformers", "peft")]
    others = ["accelerate", "pillow", "torch", "torchvision", *(["bitsandbytes"] if quantized else [])]
    return "\n".join([*pinned, *others]) + "\n"


def _card(base: str, adapter: str, run: str, theirs: Mapping[str, Any]) -> str:
    """The card of the Space: what it is made with, and which models it shows.

    Args:
        theirs: metadata of the adapter's card, whose licence goes along.
    """
    name = adapter.split("/")[-1]
    metadata = {
        "title": name,
        "colorFrom": "blue",
        "colorTo": "green",
        "sdk": "gradio",
        "sdk_version": GRADIO,
        "app_file": APP,
        "short_description": "Base and adapter side by side",
        "models": [base, adapter],
        "tags": ["vlm", "mmpref"],
        **{key: theirs[key] for key in ("license", "license_name", "license_link") if key in theirs},
    }
    return (
        f"---\n{yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True)}---\n\n"
        f"<!-- mmpref:begin run={run} -->\n# {name}\n\n"
        f"One image and one question, answered by {code(base)} and by the same model with the adapter {code(adapter)}. "
        "The demo needs hardware that holds the base model: choose it in the Space's settings.\n<!-- mmpref:end -->\n"
    )
