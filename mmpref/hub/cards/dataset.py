"""Cards of datasets and adapters, from what a run directory holds. Our text stands between marker comments.

What an owner writes outside of the markers, and metadata keys that are not ours, survive every later publishing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mmpref.errors import UsageError
from mmpref.hub.cards import snippets
from mmpref.hub.cards.markdown import code, fence, table, text
from mmpref.hub.cards.merge import merge_cards, split_card
from mmpref.hub.cards.metadata import is_hub_id, licence_fields, refuse_broken, size_category
from mmpref.hub.cards.preview import preview
from mmpref.hub.cards.rebuild import command_of, told
from mmpref.hub.cards.results_table import find_block, lines_of, model_index, put_block, results_block
from mmpref.hub.private import is_commit, portable, public
from mmpref.licence import UNREADABLE, licence_of_folder
from mmpref.registry import Registry, resolve_path
from mmpref.run.files import write_atomic
from mmpref.run.results import Results
from mmpref.version import __version__

if TYPE_CHECKING:
    from huggingface_hub import DatasetCardData, ModelCardData

TAGS = ["preference", "dpo", "vlm", "trl", "hallucination"]
TASK = "image-text-to-text"
_MAIN = re.compile(r"<!-- mmpref:begin run=(?P<run>\w*) -->.*?<!-- mmpref:end -->", re.DOTALL)
_KINDS: dict[str, Registry[Any]] = {
    "build-dataset": Registry("dataset method", "mmpref.builders", "BUILDER"),
    "train": Registry("training method", "mmpref.methods", "METHOD"),
}
_COLUMNS = {
    "images": "the images; they belong to the first user turn",
    "prompt": "the conversation up to the answer (role, content)",
    "chosen": "the source's answer, as one assistant turn",
    "rejected": "the answer to train away from",
    "rejected_policy": "a second rejected answer, for averaged losses",
    "source": "the set that the source's row comes from",
    "chosen_model": "who wrote the chosen answer, as the source says",
    "rejected_model": "who wrote the rejected answer, as the source says",
    "margin": "by how much the source rates the chosen answer better",
    "id": "identifies the pair",
    "method": "how the rejected answer was made",
    "similarity": "cosine similarity of both answers; empty where not measured",
    "iterations": "tries that it took, from 1",
    "seed": "of the run",
    "source_id": "the row of the source",
}

_UNSAID = " The source does not say which: find out before you use or share them."
_UNREAD = " The source states it in a way that could not be read: look there before you use or share them."

STATISTICS = "statistics.png"
"""The picture of a dataset's statistics, which its card shows where the run has one."""


def write_dataset_card(path: Path, manifest: Mapping[str, Any]) -> None:
    """Write ``README.md`` of a dataset run.

    Args:
        path: the run directory: ``data/<split>-*.parquet`` and ``report.json``.
        manifest: what ``run.json`` holds or will hold (command, recipe, recipe_hash, model, source, counts...).
    """
    write_atomic(path / "README.md", dataset_card(path, manifest))


def write_model_card(path: Path, manifest: Mapping[str, Any], evaluation: Mapping[str, Any] | None = None) -> None:
    """Write ``README.md`` of an adapter run.

    Args:
        path: the run directory.
        manifest: what ``run.json`` holds or will hold.
        evaluation: a ``results.json`` of this adapter, for the table of results and the model-index.
    """
    write_atomic(path / "README.md", model_card(manifest, evaluation))


def dataset_card(path: Path, manifest: Mapping[str, Any], hub_id: str | None = None) -> str:
    """The text of a dataset card.

    Args:
        hub_id: the repository that the card is for; without it the loading code has a placeholder.

    Raises:
        HubError: the metadata would be broken.
    """
    from huggingface_hub import DatasetCardData

    manifest = public(manifest)
    recipe, source, model = manifest["recipe"], manifest["source"], manifest["model"]
    report = json.loads((path / "report.json").read_text(encoding="utf-8"))
    splits = list(manifest.get("splits") or [recipe["split"]])
    seen = preview(path / "data", splits)
    source_id, method = source["id"], str(manifest.get("method", recipe["method"]))
    licence = licence_fields(source.get("licence"), _link(source))
    fields: dict[str, Any] = {**licence, **({"language": ["en"]} if seen.english else {})}
    data = DatasetCardData(
        **fields,
        pretty_name=_plain(f"{method.upper()} preference pairs from {_last(source_id)}"),
        task_categories=[TASK],
        size_categories=[size_category(seen.rows)],
        tags=TAGS,
    )
    seen.describe_in(data)
    place = hub_id or "path/to/this/folder"
    local = "/path/to/" in (command := command_of(manifest))
    unknown = licence["license"] == "unknown"
    return _render(
        "dataset",
        data,
        run=manifest["recipe_hash"],
        run_code=code(manifest["recipe_hash"]),
        title=text(data.pretty_name),
        rows=f"{seen.rows:,}",
        images=f"{seen.images:,} images",
        split=code(recipe["split"]),
        splits=" and ".join(f"{code(name)} ({rows:,})" for name, (rows, _) in seen.splits.items())
        if len(splits) > 1
        else "",
        source=code(source_id),
        source_revision=code(source.get("revision") or source.get("fingerprint") or "not recorded"),
        licence=code(licence.get("license_name", licence["license"])),
        licence_note=(_UNREAD if source.get("licence") == UNREADABLE else _UNSAID) if unknown else "",
        language_note="" if seen.english else "The language of the texts was not determined.",
        method=code(method),
        summary=_summary(manifest["command"], method) + _variant(recipe.get("builder") or {}),
        sources=[_source_row(one) for one in source.get("sources", ())],
        model=code(model["id"]) if model else "",
        model_revision=code(model.get("revision") or "none (a local model)") if model else "",
        beside=bool(recipe.get("keep_rejected")),
        written=manifest.get("written", ["rejected"] if model else []),
        both="chosen" in manifest.get("written", []),
        annotator=code(manifest["annotator"]["name"]) if manifest.get("annotator") else "",
        judged=_judged(manifest.get("annotator") or {}),
        version=__version__,
        caveat=" (put your own paths in)" if local else "",
        command=fence(command, "bash"),
        columns=[(code(name), _COLUMNS.get(name, "")) for name in seen.columns],
        statistics=_statistics(report),
        warnings=[text(warning) for warning in report.get("warnings", ())],
        sampling=_sampling(manifest.get("sampling")),
        picture=STATISTICS if (path / STATISTICS).is_file() else "",
        skipped=", ".join(f"{n:,} {text(reason)}" for reason, n in manifest["counts"]["skipped"].items()) or "none",
        resolved=table(
            ("try", "pairs", "resolved so far"),
            [(str(row["try"]), f"{row['pairs']:,}", f"{row['share']:.1%}") for row in report["resolved"]],
        ),
        samples=seen.samples,
        load=fence(snippets.load_dataset(place, recipe["split"]), "python"),
        train=fence(snippets.train_with_trl(place, recipe["split"]), "python"),
    )


def _judged(annotator: Mapping[str, Any], what: str = "asked and answered") -> str:
    """What was asked and answered, or drawn, as a table; empty where nothing was counted."""
    counts = {
        name.replace("_", " "): f"{value:,.0f}"
        for name, value in annotator.items()
        if isinstance(value, int | float) and value and name not in ("named", "named_first")
    }
    if named := annotator.get("named"):
        counts["named the response that was shown first"] = f"{annotator['named_first'] / named:.1%}"
    return table((what, "count"), list(counts.items())) if counts else ""


def model_card(
    manifest: Mapping[str, Any],
    evaluation: Mapping[str, Any] | None = None,
    *,
    hub_id: str | None = None,
    base_hub_id: str | None = None,
    merged: bool = False,
) -> str:
    """The text of an adapter's card.

    Args:
        evaluation: as in `write_model_card`.
        hub_id: the repository that the card is for; without it the loading code has a placeholder.
        base_hub_id: where a base model that is a local path can be found on the Hub.
        merged: what is published is the base with the adapter's weights in it.

    Raises:
        HubError: the metadata would be broken.
    """
    from huggingface_hub import ModelCardData

    stated = _base_licence(manifest["model"])
    results = Results.from_dict(public(evaluation, manifest)) if evaluation else None
    manifest = public(manifest)
    recipe, model, method = (
        manifest["recipe"],
        manifest["model"],
        str(manifest.get("method", manifest["recipe"]["method"])),
    )
    local = not is_commit(model.get("revision"))
    base = base_hub_id or (model["id"] if is_commit(model.get("revision")) and is_hub_id(model["id"]) else None)
    revision = None if base_hub_id and base_hub_id != model["id"] else model.get("revision")
    if base_hub_id:
        recipe = {**recipe, "model": base_hub_id, "revision": revision}
        manifest = {**manifest, "recipe": recipe, "model": {**model, "id": base_hub_id, "revision": revision}}
    licence = licence_fields(stated, f"https://huggingface.co/{base}" if base else None)
    lines = lines_of(results) if results else []
    name = f"{_last(portable(base or model['id']))} with {method.upper()}"
    fields: dict[str, Any] = dict(licence)
    if base:
        fields["base_model"] = base
    if ids := _hub_ids(manifest.get("datasets", [])):
        fields["datasets"] = ids
    if results:
        fields["model-index"] = model_index(hub_id or _plain(name), results)
    library = "transformers" if merged else "peft"
    data = ModelCardData(library_name=library, pipeline_tag=TASK, tags=[*TAGS, "lora"], **fields)
    shown = base or portable(model["id"])
    at, place = base or "path/to/the/base/model", hub_id or "path/to/this/folder"
    if "held_out" in manifest:
        load = snippets.load_rewards(at, place, recipe.get("quantization"))
    elif merged:
        load = snippets.load_merged(place)
    else:
        load = snippets.load_adapter(at, revision, place, manifest.get("quantization"))
    return _render(
        "model",
        data,
        run=manifest["recipe_hash"],
        title=text(_plain(name)),
        base=code(shown),
        base_note=_base_note(base, base_hub_id if base_hub_id != model["id"] else None, local),
        base_revision=code(revision or "not recorded"),
        licence=code(licence.get("license_name", licence["license"])),
        method=code(method),
        summary=_summary(manifest["command"], method),
        version=__version__,
        command=fence(command_of(manifest), "bash"),
        datasets=_training_data(manifest.get("datasets", [])),
        modules=_modules(manifest),
        drawn=_judged(manifest.get("drawn") or {}, "of all steps"),
        sampling=_sampling(manifest.get("sampling")),
        rewards="held_out" in manifest,
        merged=merged,
        quantized=code(str(recipe["quantization"])) if recipe.get("quantization") else "",
        held_out=table(
            ("pairs that it ranks as they are", "share", "pairs"),
            [
                (code(portable(name)), f"{one['accuracy']:.3f}", f"{one['rows']:,}")
                for name, one in manifest.get("held_out", {}).items()
            ],
        )
        if manifest.get("held_out")
        else "",
        annotator=code(manifest["annotator"]["name"]) if manifest.get("annotator") else "",
        settings=[(code(key), code(json.dumps(value))) for key, value in _settings(recipe).items()],
        final=_final(manifest.get("final") or {}),
        remarks=[text(remark) for remark in manifest.get("remarks", [])],
        load=fence(load, "python"),
        results=results_block(lines),
    )


def merge_model_card(remote: str | None, ours: str) -> str:
    """Our adapter card on top of the one on the Hub.

    The owner's text outside of our markers and foreign metadata keys stay. Results stay where the card is of the same
    run; after another training they would be another adapter's, and are replaced by ours.
    """
    if remote is None:
        return ours
    old, new = _MAIN.search(split_card(remote)[1]), _MAIN.search(ours)
    results = find_block(split_card(remote)[1])
    same = bool(old and new and old["run"] == new["run"] and results)
    merged = merge_own_text(remote, ours)
    if same and results and "model-index" not in split_card(ours)[0]:
        front, body = split_card(merged)
        return f"---\n{front}---\n{put_block(body, results)}"
    if not same and "model-index" not in split_card(ours)[0]:
        return _without_key(merged, "model-index")
    return merged


def merge_own_text(remote: str | None, ours: str) -> str:
    """Our card with foreign metadata keys of the remote one and the owner's text outside of our markers."""
    merged = merge_cards(remote, ours)
    if remote is None:
        return merged
    front, body = split_card(merged)
    theirs, block = split_card(remote)[1], _MAIN.search(body)
    if block is None or not _MAIN.search(theirs):
        return merged
    kept = _MAIN.sub(lambda _: block.group(), theirs, count=1)
    results = find_block(body)
    return f"---\n{front}---\n{put_block(kept, results) if results else kept}"


def _without_key(card: str, key: str) -> str:
    from mmpref.hub.cards.merge import front_matter_blocks

    front, body = split_card(card)
    kept = "".join(block for name, block in front_matter_blocks(front).items() if name != key)
    return f"---\n{kept}---\n{body}"


@cache
def template(kind: Literal["dataset", "model"]) -> str:
    """The Jinja template: the wheel's copy, or in a checkout the one under ``dataset_cards`` or ``model_cards``."""
    packaged = Path(__file__).parent / "templates" / f"{kind}_card.md.j2"
    checkout = Path(__file__).parents[3] / f"{kind}_cards" / "template.md.j2"
    return (packaged if packaged.is_file() else checkout).read_text(encoding="utf-8")


def _render(kind: Literal["dataset", "model"], data: DatasetCardData | ModelCardData, **values: Any) -> str:
    import jinja2

    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    card = environment.from_string(template(kind)).render(card_data=data.to_yaml(), **values)
    refuse_broken(card, kind)
    return card


def _plain(value: str) -> str:
    return re.sub(r"[^\w .,()+-]", "", value)


def _last(name: str) -> str:
    if name.startswith("pkg:"):
        return name.removeprefix("pkg:").replace("/", " ")
    return name.rstrip("/").split("/")[-1] or name


def _base_licence(model: Mapping[str, Any]) -> str | None:
    """As the run recorded it, or as the card in the folder of a local or packaged model says."""
    if model.get("licence") or is_commit(model.get("revision")):
        return model.get("licence")
    try:
        folder = Path(resolve_path(model["id"]))
    except UsageError:
        return None
    return licence_of_folder(folder.resolve()) if folder.is_dir() else None


def _link(source: Mapping[str, Any]) -> str | None:
    file = re.match(r"hf://datasets/([^/]+/[^/@]+)", source["id"])
    name = file.group(1) if file else source["id"]
    return f"https://huggingface.co/datasets/{name}" if is_commit(source.get("revision")) and is_hub_id(name) else None


def _source_row(source: Mapping[str, Any]) -> tuple[str, str, str]:
    """One of several sources: name, revision or content, licence."""
    content = source.get("revision") or source.get("fingerprint") or "not recorded"
    return code(portable(source["id"])), code(content), code(source.get("licence") or "unknown")


def _summary(command: str, method: str) -> str:
    """The method's own first line, as ``mmpref list`` has it; nothing where its plugin is not installed."""
    try:
        line = _KINDS[command].summary(method)
    except UsageError:
        return ""
    return text(re.sub(r"\s*\([^)]*\)\.?$", "", line).rstrip(".") + ".") if line else ""


def _variant(builder: Mapping[str, Any]) -> str:
    """What was done instead of the method's first line, where settings say so."""
    noise = builder.get("noise_steps") if "rho_th" in builder else None
    noisy = f" Here the image was shown under noise ({noise} of 1000 diffusion steps), and no image token was hidden."
    return (noisy if noise else "") + (" Answers were written whole." if builder.get("guidance") is False else "")


def _statistics(report: Mapping[str, Any]) -> str:
    spreads = {
        "words, chosen": report["words"]["chosen"],
        "words, rejected": report["words"]["rejected"],
        "length of rejected / chosen": report["length_ratio"],
        "share of words that differ": report["differing_words"],
        "cosine similarity": report["similarity"],
    }
    parts = ("mean", "median", "min", "max")
    rows = [(name, *(_number(spread[part]) for part in parts)) for name, spread in spreads.items()]
    return table(("", *parts), rows)


def _sampling(found: Mapping[str, Any] | None) -> str:
    """How tokens were drawn, in words; nothing where none were, or it was not recorded."""
    if not found:
        return ""
    numbers = [f"{name.replace('_', ' ')} {_number(value)}" for name, value in found.items() if name != "greedy"]
    return text(", ".join(["greedy" if found["greedy"] else "sampled", *numbers]))


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:,.4g}"


def _base_note(base: str | None, base_hub_id: str | None, local: bool) -> str:
    if base_hub_id:
        was = "a local model" if local else "under another id"
        return f"The base was {was} when the adapter was trained; its owner says that this is it on the Hub."
    if base:
        return "The base is on the Hub, and the adapter belongs to exactly the revision below."
    return (
        "The base is a local model or one that ships with a package; it is not published under a Hub id, so the "
        "metadata names none. The adapter is of no use without it."
    )


def _hub_ids(datasets: Sequence[Mapping[str, Any]]) -> list[str]:
    found = [entry["id"] for entry in datasets if is_commit(entry.get("revision")) and is_hub_id(entry["id"])]
    return list(dict.fromkeys(found))


def _training_data(datasets: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        (
            code(portable(entry["id"])),
            code(str(entry.get("revision") or entry.get("fingerprint") or "not recorded")),
            f"{entry['rows']:,}" if isinstance(entry.get("rows"), int) else "–",
        )
        for entry in datasets
    ]
    return table(("dataset", "revision or content", "pairs"), rows) if rows else "not recorded."


def _modules(manifest: Mapping[str, Any]) -> str:
    counts = manifest.get("modules") or {}
    parts = ", ".join(f"{text(part.replace('_', ' '))} {count}" for part, count in counts.items())
    return f"Adapted modules, by part of the model: {parts}." if parts else ""


def _settings(recipe: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in portable(told(recipe)).items():
        if key in ("model", "revision", "dataset", "method", "image_root"):
            continue
        for inner, item in value.items() if isinstance(value, Mapping) else [(None, value)]:
            if item is not None:
                flat[f"{key}.{inner}" if inner else key] = item
    return flat


def _final(final: Mapping[str, Any]) -> str:
    rows = [(text(name), _number(value)) for name, value in final.items() if isinstance(value, (int, float))]
    return table(("measure", "value"), rows) if rows else ""
