"""Publishing a finished run: what of it goes to the Hub, without anything of this machine in it.

The run directory stays as it is: a staged copy (symbolic links, and rewritten copies of the few files that name
paths) is what is published.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import re
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, constants
from huggingface_hub.errors import RepositoryNotFoundError
from huggingface_hub.hf_api import RepoFile

from mmpref.errors import HubError, RunError, UsageError
from mmpref.hub._calls import Calls, Retry
from mmpref.hub._manifest import CARD, IGNORE
from mmpref.hub.access import check_repo_id, usual_token
from mmpref.hub.cards.dataset import STATISTICS, dataset_card, merge_model_card, merge_own_text, model_card
from mmpref.hub.cards.merge import split_card
from mmpref.hub.cards.metadata import is_hub_id
from mmpref.hub.cards.results_table import add_results, eval_files
from mmpref.hub.cards.samples import FILES, samples_card
from mmpref.hub.cards.splits import merge_dataset_card
from mmpref.hub.kept import refuse_breaking
from mmpref.hub.licences import check_licences
from mmpref.hub.private import is_commit, public, without_places
from mmpref.hub.publish import Published, check_access, publish_folder
from mmpref.log import logger
from mmpref.registry import resolve_path
from mmpref.run.files import write_atomic
from mmpref.run.manifest import STATE, read_manifest
from mmpref.run.results import Results
from mmpref.text_files import read_text

RECORD = "published.json"
"""State: where the run was published (address, commit, tag), an entry for each repository and pull request."""
KINDS = {"build-dataset": "dataset", "train": "model", "evaluate": "model"}
"""Commands whose runs can be published, and the kind of repository they go to."""
_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
_VOCABULARY = ("tokenizer.json", "vocab.json", "merges.txt", "added_tokens.json")
_OURS = ("run.json", "results.json", "report.json")
"""Files of runs that stand in the adapter's folder too, such as its evaluation's."""
_TEXT = ("*.json", "*.jsonl", "*.md", "*.txt", "*.yaml", "*.yml", "*.jinja")
_TOKEN = re.compile(r"\bhf_[A-Za-z0-9]{20,}\b")
_EMPTY_CARD = """---
library_name: peft
pipeline_tag: image-text-to-text
tags: [vlm]
---

# {name}
"""


def kind_of(path: Path) -> str:
    """``dataset`` or ``model``: where a finished run belongs.

    Raises:
        RunError: no finished run, or one that cannot be published.
    """
    command = read_manifest(path)["command"]
    if command not in KINDS:
        raise RunError(f"{path} is a run of `{command}`, which makes nothing to publish.")
    return KINDS[command]


def publish_run(
    path: Path,
    hub_id: str | None,
    *,
    private: bool = False,
    create_pr: bool = False,
    base_hub_id: str | None = None,
    push_samples: bool = False,
    samples_only: bool = False,
    accept_license: bool = False,
    merged: Path | None = None,
    token: str | None = None,
    endpoint: str | None = None,
) -> dict[str, Any]:
    """Publish a finished run directory by one commit; publishing it again makes none.

    Args:
        path: the run. A dataset goes to a dataset repository, an adapter to a model repository; of an evaluation the
            results are merged into the card of the model repository.
        hub_id: ``namespace/name``; None takes ``<whoami>/<folder name>``.
        private: make a new repository private.
        create_pr: open a pull request instead of committing.
        base_hub_id: the Hub id that stands for a base model that is local here.
        accept_license: publish a dataset although the licence of a source may forbid it.
        merged: of an adapter, the folder of the model that it was merged into, which is published in its place.
        push_samples: of an evaluation, also push ``results.json`` and the per-sample records.
        samples_only: of an evaluation, publish the per-sample records as a dataset of their own.
        token, endpoint: by default from the usual places.

    Returns:
        url, commit, tag, changed, repo_id, repo_type and pull_request_url of what is on the Hub.

    Raises:
        UsageError: an id that is not one, or results of another adapter than the repository's.
        RunError: not a finished run.
        HubError: a licence that may forbid it, no access, a broken card, something of this machine or a token in the
            files, or the Hub refuses.
    """
    kind = "dataset" if samples_only else kind_of(path)
    manifest = read_manifest(path)
    accepted = check_licences(manifest["source"], accept_license) if "source" in manifest else []
    if base_hub_id is not None:
        check_repo_id(base_hub_id)
    api = HfApi(endpoint=endpoint or constants.ENDPOINT, token=token or usual_token())
    repo_id = check_access(hub_id or path.resolve().name, kind, token=token, endpoint=endpoint)  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory(prefix="mmpref-publish-") as folder:
        stage = Path(folder)
        options: dict[str, Any]
        if samples_only:
            options = _stage_samples(path, manifest, stage, repo_id)
        elif manifest["command"] == "evaluate":
            options = _stage_evaluation(path, manifest, stage, repo_id, push_samples, api)
        elif kind == "dataset":
            options = _stage_dataset(path, manifest, stage, repo_id)
        else:
            options = _stage_adapter(path, manifest, stage, repo_id, base_hub_id, merged)
        _refuse_secrets(stage)
        options |= {"private": private, "create_pr": create_pr, "token": token, "endpoint": endpoint}
        done = publish_folder(stage, repo_id, kind, **options)  # type: ignore[arg-type]
    tag = None if done.pull_request_url else _tag(api, done, str(manifest["recipe_hash"]))
    place = {"url": done.url, "commit": done.commit, "tag": tag, "pull_request_url": done.pull_request_url}
    _record(path, {**place, **({"accepted_licences": accepted} if accepted else {})})
    return {**place, "changed": done.changed, "repo_id": done.repo_id, "repo_type": done.repo_type}


def _record(path: Path, place: dict[str, Any]) -> None:
    """Note in the run's state where it is; it has its ``run.json``, which holds what does not depend on that."""
    file = path / STATE / RECORD
    try:
        known = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []
        others = [
            one for one in known if (one["url"], one["pull_request_url"]) != (place["url"], place["pull_request_url"])
        ]
        if place not in known:
            write_atomic(file, json.dumps([*others, place], indent=2) + "\n")
    except (RunError, OSError, ValueError, TypeError, KeyError) as error:
        logger.warning("Warning: the commit could not be recorded in %s: %s", file, error)


def _stage_dataset(path: Path, manifest: dict[str, Any], stage: Path, repo_id: str) -> dict[str, Any]:
    for entry in manifest["data"]:
        if not (path / entry["path"]).is_file():
            raise RunError(f"{path} lacks {entry['path']}, which its run.json names.", "Build the dataset again.")
        _link(path / entry["path"], stage / entry["path"])
    _write_json(stage / "run.json", public(manifest))
    report = json.loads((path / "report.json").read_text(encoding="utf-8"))
    _write_json(stage / "report.json", public(report, manifest))
    if (path / STATISTICS).is_file():
        _link(path / STATISTICS, stage / STATISTICS)
    _write_card(path, stage, dataset_card(path, manifest, repo_id))
    splits = list(manifest.get("splits") or [manifest["recipe"]["split"]])
    return {
        "commit_message": f"{manifest['counts']['rows']} preference pairs, split {' and '.join(splits)}",
        "delete_patterns": [f"data/{split}-*.parquet" for split in splits],
        "merge_card": merge_dataset_card,
        "check": lambda change: refuse_breaking(replace(change, own_features=_schema_of(path, manifest))),
    }


def _schema_of(path: Path, manifest: Mapping[str, Any]) -> Any:
    import pyarrow.parquet as pq

    return pq.read_schema(path / manifest["data"][0]["path"])


def _stage_adapter(
    path: Path, manifest: dict[str, Any], stage: Path, repo_id: str, base_hub_id: str | None, merged: Path | None
) -> dict[str, Any]:
    base = manifest["model"]["id"]
    on_hub = is_hub_id(base) and is_commit(manifest["model"].get("revision"))
    named = base_hub_id or (base if on_hub else None)
    revision = manifest["model"].get("revision") if named == base else None
    places = _places(path, base)
    held = merged or path
    for file in sorted(held.rglob("*")):
        name = file.relative_to(held).as_posix()
        if not file.is_file() or name in (CARD, "run.json") or any(fnmatch.fnmatchcase(name, p) for p in IGNORE):
            continue
        if file.name == "adapter_config.json":  # of checkpoints too
            config = json.loads(file.read_text(encoding="utf-8"))
            config |= {"base_model_name_or_path": named, "revision": revision}
            _write_json(stage / name, without_places(config, places))
        elif (clean := _without_places(file, places, manifest, None if on_hub else base)) is not None:
            _write(stage / name, clean)
        else:
            _link(file, stage / name)
    content = public(manifest)
    if base_hub_id or not on_hub:
        shown = base_hub_id or (base if base.startswith("pkg:") else None)
        content["model"] = {**content["model"], "id": shown, "revision": revision}
        content["recipe"] = {**content["recipe"], "model": shown, "revision": revision}
    _write_json(stage / "run.json", content)
    results = path / "results.json"
    evaluation = json.loads(results.read_text(encoding="utf-8")) if results.is_file() else None
    for name, text in eval_files(Results.from_dict(evaluation)).items() if evaluation else ():
        _write(stage / name, text)
    card = model_card(manifest, evaluation, hub_id=repo_id, base_hub_id=base_hub_id, merged=merged is not None)
    _write_card(path, stage, card)
    what = "Merged model" if merged else "LoRA adapter"
    return {
        "commit_message": f"{what}, {manifest['recipe']['method']}",
        "delete_patterns": ["adapter_*", "checkpoints/*", "model*.safetensors", "model.safetensors.index.json"],
        "merge_card": merge_model_card,
    }


def _refuse_other_adapter(path: Path, adapter: Mapping[str, Any], repo_id: str, api: HfApi) -> None:
    """Results go into the card of the very model that was evaluated; an adapter's weights tell which it is.

    Raises:
        UsageError: there is no such repository, or it holds another adapter, or one where none was evaluated, or none.
    """
    try:
        found = api.get_paths_info(repo_id, list(_WEIGHTS))
    except RepositoryNotFoundError as error:
        raise UsageError(
            f"There is no model repository {repo_id} whose results these could be.",
            "Publish the training run first, or check --hub-model-id.",
        ) from error
    if adapter and not found:
        raise UsageError(
            f"{repo_id} holds no adapter whose results these could be.",
            "Publish the training run first, or check --hub-model-id.",
        )
    if found and not adapter:
        raise UsageError(f"{path} evaluated a base model only; {repo_id} is an adapter.", "Evaluate with --adapter.")
    held = {_sha256(file, repo_id, api) for file in found if isinstance(file, RepoFile)}
    if held and adapter.get("weights") not in held:
        raise UsageError(
            f"{path} evaluated other weights than those of {repo_id}.",
            "Publish the training run that was evaluated, or evaluate what is published.",
        )


def _sha256(file: RepoFile, repo_id: str, api: HfApi) -> str:
    if file.lfs:
        return file.lfs.sha256
    return hashlib.sha256(Path(api.hf_hub_download(repo_id, file.path)).read_bytes()).hexdigest()


def _stage_evaluation(
    path: Path, manifest: dict[str, Any], stage: Path, repo_id: str, push_samples: bool, api: HfApi
) -> dict[str, Any]:
    evaluation = public(json.loads((path / "results.json").read_text(encoding="utf-8")), manifest)
    results = Results.from_dict(evaluation)
    adapter = manifest.get("adapter") or {}
    if is_commit(adapter.get("revision")) and is_hub_id(adapter.get("id")) and adapter["id"] != repo_id:
        raise UsageError(
            f"{path} evaluated the adapter {adapter['id']}, not {repo_id}.", f"Use --hub-model-id {adapter['id']}."
        )
    _refuse_other_adapter(path, adapter, repo_id, api)
    _write(stage / CARD, _EMPTY_CARD.format(name=repo_id.split("/")[1]))
    for name, content in eval_files(results).items():
        _write(stage / name, content)
    if push_samples:
        folder = f"evaluation/{manifest['recipe_hash'][:8]}"
        _write_json(stage / folder / "results.json", evaluation)
        for file in sorted((path / "samples").glob("*.parquet")):
            _link(file, stage / folder / "samples" / file.name)
    names = ", ".join(dict.fromkeys(value.benchmark for value in results.values))
    return {
        "commit_message": f"Results of {names}",
        "merge_card": lambda remote, ours: add_results(ours if remote is None else remote, results),
    }


def _stage_samples(path: Path, manifest: dict[str, Any], stage: Path, repo_id: str) -> dict[str, Any]:
    files = sorted((path / "samples").glob("*.parquet"))
    if manifest["command"] != "evaluate" or not files:
        raise RunError(f"{path} has no per-sample records.", "They are kept by `mmpref evaluate`.")
    for file in files:
        _link(file, stage / "samples" / file.name)
    evaluation = public(json.loads((path / "results.json").read_text(encoding="utf-8")), manifest)
    _write_json(stage / "results.json", evaluation)
    _write_json(stage / "run.json", public(manifest))
    card = samples_card(files, public(manifest), Results.from_dict(evaluation), repo_id)
    _write(stage / CARD, _clean_text(card, _places(path)))
    return {
        "commit_message": "Per-sample records of an evaluation",
        "delete_patterns": [FILES],
        "check": refuse_breaking,
    }


def _write_card(path: Path, stage: Path, fresh: str) -> None:
    """The fresh card, with what the owner wrote outside of our markers in the run's README.md."""
    own = path / CARD
    text = read_text(own) if own.is_file() else None
    card = merge_own_text(text, fresh) if text and split_card(text)[0] else fresh
    _write(stage / CARD, _clean_text(card, _places(path)))


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(source.resolve())


def _write(target: Path, content: str) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(content, encoding="utf-8")


def _write_json(target: Path, content: Any) -> None:
    _write(target, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def _places(path: Path, base: str | None = None) -> re.Pattern[str]:
    """Finds the folders of this machine that must not be named in what is published."""
    places = {str(Path.home()), str(Path.cwd()), str(path.resolve()), str(path.resolve().parent), tempfile.gettempdir()}
    if base and (base.startswith("pkg:") or Path(base).is_absolute()):
        places.add(str(Path(resolve_path(base)).resolve()))
    known = sorted((place for place in places if len(place) > 1), key=len, reverse=True)
    return re.compile(rf"(?:{'|'.join(map(re.escape, known))})(?![\w.-])")


def _without_places(file: Path, places: re.Pattern[str], manifest: Mapping[str, Any], base: str | None) -> str | None:
    """The content of a JSON file that names folders of this machine, without them; None where it names none.

    Args:
        manifest: of the run.
        base: of the adapter, where it is local.
    """
    if file.suffix not in (".json", ".jsonl") or file.name in _VOCABULARY:
        return None
    text = file.read_text(encoding="utf-8", errors="replace")
    local = frozenset([base, resolve_path(base)] if base else [])
    try:
        given = [json.loads(line) for line in (text.splitlines() if file.suffix == ".jsonl" else [text])]
    except ValueError:
        return None if not places.search(text) else _clean_text(text, places)
    clean = [
        public(value, manifest)
        if file.name in _OURS and isinstance(value, dict)
        else without_places(value, places, local)
        for value in given
    ]
    if clean == given:
        return None
    indent = None if file.suffix == ".jsonl" else 2
    return "".join(json.dumps(value, indent=indent, ensure_ascii=False) + "\n" for value in clean)


def _clean_text(text: str, places: re.Pattern[str]) -> str:
    """`text` with every path below one of this machine's folders replaced by ``/path/to/<name>``.

    A space ends a path, unless a slash follows in the next word.
    """
    below = re.compile(rf"{places.pattern}(?:/[^\s\"'`\\<>,;()]*|(?<=[^\s/]) [^\s/\"'`\\<>,;()]+(?=/))*")
    return below.sub(lambda match: f"/path/to/{match[0].rstrip('/').split('/')[-1]}", text)


def _refuse_secrets(stage: Path) -> None:
    for file in sorted(stage.rglob("*")):
        name = file.relative_to(stage).as_posix()
        if not file.is_file() or file.name in _VOCABULARY or not any(fnmatch.fnmatch(file.name, p) for p in _TEXT):
            continue
        if _TOKEN.search(file.read_text(encoding="utf-8", errors="replace")):
            raise HubError(
                f"{name} holds what looks like a Hugging Face token; nothing was uploaded.",
                "Remove it from the run, and revoke the token if it is real.",
            )


def _tag(api: HfApi, done: Published, recipe_hash: str) -> str:
    """Mark the commit with the recipe that made it; a tag that is there already stays."""
    calls = Calls(done.repo_id, api.endpoint, str(api.token), Retry())
    prefix = f"mmpref-{recipe_hash[:8]}-"

    def tag_once() -> str:
        for ref in api.list_repo_refs(done.repo_id, repo_type=done.repo_type).tags:
            if ref.name.startswith(prefix) and ref.target_commit == done.commit:
                return ref.name
        name = f"{prefix}{done.commit[:8]}"
        api.create_tag(done.repo_id, tag=name, revision=done.commit, repo_type=done.repo_type, exist_ok=True)
        return name

    return calls.run("tag the commit", tag_once)
