"""The card of an adapter, or of a model that one was merged into or that was trained in full. Our text stands between
marker comments."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmpref.hub.cards import snippets
from mmpref.hub.cards.base_model import base_check, base_licence, base_note, base_revision
from mmpref.hub.cards.citation import bibtex, paper_link, paper_of
from mmpref.hub.cards.kept_step import final_title, kept_text
from mmpref.hub.cards.markdown import code, fence, remark, table, text
from mmpref.hub.cards.metadata import licence_fields
from mmpref.hub.cards.model_index import model_index
from mmpref.hub.cards.origin_tags import emissions, tracker_links
from mmpref.hub.cards.render import (
    CONTROL,
    TAGS,
    TASK,
    content_id,
    counts_table,
    format_number,
    last_part,
    method_name,
    method_tags,
    method_title,
    plain_name,
    render_card,
    summary_of,
)
from mmpref.hub.cards.reproduce_command import command_of, used_settings
from mmpref.hub.cards.results_table import lines_of, results_block
from mmpref.hub.cards.verdict import limits, opening, verdict_tags
from mmpref.hub.private import portable, public
from mmpref.hub.training_data import trained_on
from mmpref.hub_ids import is_commit, is_hub_id
from mmpref.licence import UNREADABLE
from mmpref.log import counted
from mmpref.origins.earlier_data import EARLIER
from mmpref.run.files import write_atomic
from mmpref.run.manifest import is_whole_model
from mmpref.run.results import Results
from mmpref.run.results_text import decimals, fixed
from mmpref.run.training_images import TRAINING_IMAGES

CURVES = "training.png"
"""The picture of a training's curves, which its card shows where it is there."""
_PLACES = {"accuracy": 3, "reward": 3}
"""Behind the point, of what a training measured of itself; 4 of all else."""
_UNSURE = {
    "unknown": " Unknown is one that nobody states: find out before you use or share what was trained on them.",
    UNREADABLE: " Unreadable is one that could not be read: look there before you use or share it.",
}
"""Of data whose licence nobody can tell here."""


def write_model_card(path: Path, manifest: Mapping[str, Any]) -> None:
    """Write ``README.md`` of an adapter run.

    Args:
        path: the run directory.
        manifest: what ``run.json`` holds or will hold.
    """
    curves, digests = ((path / name).is_file() for name in (CURVES, TRAINING_IMAGES))
    write_atomic(path / "README.md", model_card(manifest, curves=curves, digests=digests))


def model_card(
    manifest: Mapping[str, Any],
    results: Results | None = None,
    *,
    hub_id: str | None = None,
    base_hub_id: str | None = None,
    merged: bool = False,
    rounds: str = "",
    curves: bool = False,
    digests: bool = False,
) -> str:
    """The text of an adapter's card.

    Args:
        results: of this adapter, as they may be published, for their table and the model-index.
        hub_id: the repository that the card is for; without it the loading code has a placeholder.
        base_hub_id: where a base model that is a local path can be found on the Hub.
        merged: what is published is the base with the adapter's weights in it.
        rounds: of a chain, what every round did (`mmpref.hub.cards.chain`).
        curves: the picture `CURVES` lies beside the card.
        digests: those of the images of the training do (`mmpref.run.training_images`).

    Raises:
        HubError: the metadata would be broken.
    """
    from huggingface_hub import ModelCardData

    stated = base_licence(manifest["model"])
    watched = tracker_links(manifest)
    manifest = public(manifest)
    recipe, model = manifest["recipe"], manifest["model"]
    local = not is_commit(model.get("revision"))
    base = base_hub_id or (model["id"] if is_commit(model.get("revision")) and is_hub_id(model["id"]) else None)
    revision = None if base_hub_id and base_hub_id != model["id"] else model.get("revision")
    if base_hub_id:
        recipe = {**recipe, "model": base_hub_id, "revision": revision}
        manifest = {**manifest, "recipe": recipe, "model": {**model, "id": base_hub_id, "revision": revision}}
    licence = licence_fields(stated, f"https://huggingface.co/{base}" if base else None)
    lines = lines_of(results) if results else []
    shown = base or portable(model["id"])
    in_full = is_whole_model(manifest)
    whole = merged or in_full
    is_reward_model = "held_out" in manifest
    made = "as a reward model" if is_reward_model else f"with {method_title(manifest)}"
    name = plain_name(f"{last_part(shown)} {made}")
    fields = {**licence, **_metadata(manifest, base, whole)}
    if results:
        fields["model-index"] = model_index(hub_id or name, results)
    library = "transformers" if whole else "peft"
    earlier = manifest.get(EARLIER) or []
    all_data = [*manifest.get("datasets", []), *earlier]
    controls = _control_methods(all_data)
    tags = [*_tags(manifest, controls, in_full), *verdict_tags(lines)]
    data = ModelCardData(library_name=library, pipeline_tag=TASK, tags=tags, **fields)
    paper = paper_of(manifest)
    kept, held_out = kept_text(manifest), _held_out_table(manifest.get("held_out") or {})
    base_repo, repo = base or "path/to/the/base/model", hub_id or "path/to/this/folder"
    trusted = bool(recipe.get("trust_remote_code"))
    if is_reward_model:
        load = snippets.load_rewards(base_repo, repo, revision, recipe.get("quantization"), trusted)
    elif whole:
        load = snippets.load_merged(repo, trusted)
    else:
        load = snippets.load_adapter(base_repo, revision, repo, manifest.get("quantization"), trusted)
    return render_card(
        "model",
        data,
        manifest,
        title=text(name),
        base=code(shown),
        base_note=base_note(base, base_hub_id if base_hub_id != model["id"] else None, local, whole),
        base_revision=base_revision(revision, manifest.get("model_weights")),
        base_check=base_check(revision, manifest.get("model_weights")),
        licence=code(licence.get("license_name", licence["license"])),
        command=fence(command_of(manifest), "bash"),
        datasets=_training_data_table(manifest.get("datasets", [])),
        data_licence=_data_licence_note(all_data),
        weights=_weights_text(manifest.get("weights") or {}),
        modules=_modules_text(manifest),
        online_counts=counts_table(manifest.get("drawn") or {}, "of all steps"),
        partners="no_partner" in (manifest.get("drawn") or {}),
        began=_began_text(manifest.get("began") or {}, earlier),
        rewards=is_reward_model,
        merged=merged,
        rounds=rounds,
        in_full=in_full,
        quantized=code(str(recipe["quantization"])) if recipe.get("quantization") else "",
        held_out=held_out,
        settings=[(code(key), code(json.dumps(value))) for key, value in _shown_settings(recipe).items()],
        watched=watched,
        curves=CURVES if curves else "",
        digests=digests,
        kept=kept,
        final_title=final_title(manifest),
        final=_final_table(manifest.get("final") or {}),
        logged_reward=text(manifest.get("logged_reward") or ""),
        source=paper_link(paper) if (entry := bibtex(paper)) else "",
        bibtex=entry,
        remarks=[remark(str(said)) for said in manifest.get("remarks", [])],
        load=fence(load, "python"),
        controls=", ".join(map(code, controls)),
        opening=opening(lines, bool(kept or held_out)),
        limits=limits(lines, bool(kept or held_out)),
        results=results_block(lines),
    )


def _metadata(manifest: Mapping[str, Any], base: str | None, whole: bool) -> dict[str, Any]:
    """Languages, base, data and emissions, as far as they are known.

    Args:
        base: on the Hub.
        whole: what is published is a whole model, not an adapter.
    """
    fields: dict[str, Any] = {}
    if languages := manifest.get("languages"):
        fields["language"] = languages
    if base:
        fields["base_model"] = base
        fields["base_model_relation"] = "finetune" if whole else "adapter"
    if ids := trained_on(manifest):
        fields["datasets"] = ids
    if co2 := emissions(manifest):
        fields["co2_eq_emissions"] = co2
    return fields


def _tags(manifest: Mapping[str, Any], controls: Sequence[str], in_full: bool) -> list[str]:
    """Its method and form, and whether it is there to compare with.

    Args:
        controls: methods of its data that are.
    """
    method = method_name(manifest)
    is_control = bool(controls) or summary_of("train", method).startswith(CONTROL)
    return [*method_tags(method), *TAGS, *([] if in_full else ["lora"]), *(["control"] if is_control else [])]


def _control_methods(datasets: Sequence[Mapping[str, Any]]) -> list[str]:
    """Methods that made pairs of the training data and are there to compare with."""
    made_by = dict.fromkeys(method for entry in datasets for method in entry.get("methods", ()))
    return [method for method in made_by if summary_of("build-dataset", method).startswith(CONTROL)]


def _training_data_table(datasets: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        (
            code(portable(entry["id"])),
            content_id(entry),
            f"{entry['rows']:,}" if isinstance(entry.get("rows"), int) else "–",
            ", ".join(f"{code(name)} {count:,}" for name, count in entry.get("methods", {}).items()) or "–",
            code(entry.get("licence") or "unknown"),
        )
        for entry in datasets
    ]
    columns = ("dataset", "revision or content", "pairs", "made by", "licence")
    return table(columns, rows, texts=(1, 3, 4)) if rows else "not recorded."


def _data_licence_note(datasets: Sequence[Mapping[str, Any]]) -> str:
    """What to know of the data's licences; the one in the metadata is the base's."""
    stated = {entry.get("licence") or "unknown" for entry in datasets}
    unsure = [note for name, note in _UNSURE.items() if name in stated]
    return f"The licence in the metadata is the base's; the data have their own.{''.join(unsure)}" if datasets else ""


def _weights_text(weights: Mapping[str, Mapping[str, Any]]) -> str:
    """Which columns of the data weighed pairs or words, and how much."""
    parts = [
        f"{code(column)} in {counted(facts['rows'], 'row')}"
        + (
            f", {format_number(facts['least'])} to {format_number(facts['most'])}, mean {format_number(facts['mean'])}"
            if "mean" in facts
            else ""
        )
        for column, facts in weights.items()
        if facts["rows"]
    ]
    return f"The loss is weighted by columns of the data: {'; '.join(parts)}." if parts else ""


def _began_text(began: Mapping[str, Any], earlier: Sequence[Mapping[str, Any]]) -> str:
    """Which adapter the training went on from, and what that was trained on."""
    if not began:
        return ""
    commit = f" at {code(began['revision'])}" if is_commit(began.get("revision")) else ""
    return (
        f"Training went on from the adapter {code(portable(began['id']))}{commit} (SHA-256 of its weights: "
        f"{code(began['weights'])}). The reference of the loss was the base with that adapter on."
        f"{_earlier_text(earlier)}"
    )


def _earlier_text(earlier: Sequence[Mapping[str, Any]]) -> str:
    """What an adapter was trained on before; of one that does not tell that nobody knows, and its licence."""
    tables = [entry for entry in earlier if not entry.get("adapter")]
    untold = [
        f"{code(portable(entry['id']))} (licence: {code(entry.get('licence') or 'unknown')})"
        for entry in earlier
        if entry.get("adapter")
    ]
    unknown = f"\n\nWhat {', '.join(untold)} was trained on is not recorded." if untold else ""
    return (f"\n\nData of the trainings before:\n\n{_training_data_table(tables)}" if tables else "") + unknown


def _modules_text(manifest: Mapping[str, Any]) -> str:
    counts = manifest.get("modules") or {}
    if is_whole_model(manifest):
        counts = manifest.get("parameters") or {}
        parts = ", ".join(
            f"{text(part.replace('_', ' '))} {count:,}" for part, count in counts.items() if count and part != "total"
        )
        return f"Trained in full, in parameters: {parts}; of {counts['total']:,} in all." if parts else ""
    parts = ", ".join(f"{text(part.replace('_', ' '))} {count}" for part, count in counts.items())
    return f"Adapted modules, by part of the model: {parts}." if parts else ""


def _shown_settings(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Each by its dotted key, without those that stand elsewhere in the card and those that decide nothing."""
    flat: dict[str, Any] = {}
    for key, value in portable(used_settings(recipe)).items():
        if key in ("model", "revision", "dataset", "method", "image_root"):
            continue
        for inner, item in value.items() if isinstance(value, Mapping) else [(None, value)]:
            if item is not None:
                flat[f"{key}.{inner}" if inner else key] = item
    return {key: value for key, value in flat.items() if not _overruled(key, flat)}


def _overruled(key: str, settings: Mapping[str, Any]) -> bool:
    """Whether another setting makes one do nothing."""
    if key.startswith("lora."):
        return settings.get("tuning") == "full"
    if key == "trainer.num_train_epochs":
        return settings.get("trainer.max_steps", 0) > 0
    return key == "projector_learning_rate" and settings.get("train_projector") is False


def _held_out_table(held_out: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [
        (code(portable(name)), f"{measured['accuracy']:.3f}", f"{measured['rows']:,}")
        for name, measured in held_out.items()
    ]
    return table(("pairs that it ranks as they are", "share", "pairs"), rows) if rows else ""


def _final_table(final: Mapping[str, Any]) -> str:
    """What a training measured of itself, with the places that its summary has, and fewer of what is large."""
    rows = [
        (text(name.replace("_", " ")), fixed(value, _PLACES.get(name, 4) if abs(value) < 10 else decimals(value)))
        for name, value in final.items()
        if isinstance(value, int | float)
    ]
    return table(("measure", "value"), rows) if rows else ""
