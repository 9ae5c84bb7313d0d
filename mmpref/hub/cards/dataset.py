"""The card of a dataset, from what its run directory holds. Our text stands between marker comments."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmpref.hub.cards import snippets
from mmpref.hub.cards.citation import bibtex, paper_link, paper_of
from mmpref.hub.cards.limits import Making, limits
from mmpref.hub.cards.markdown import code, fence, table, text
from mmpref.hub.cards.metadata import licence_fields, size_category
from mmpref.hub.cards.preview import preview
from mmpref.hub.cards.render import (
    CONTROL,
    TAGS,
    TASK,
    content_id,
    counts_table,
    format_number,
    last_part,
    method_name,
    method_title,
    methods_that_write,
    plain_name,
    render_card,
    summary_of,
)
from mmpref.hub.cards.reproduce_command import command_of
from mmpref.hub.private import portable, public
from mmpref.hub_ids import dataset_of, is_commit
from mmpref.licence import UNREADABLE
from mmpref.log import counted
from mmpref.reasons import REASONS
from mmpref.run.build_report import LENGTH_RATIO, resolved_shares, shows_next_to_nothing
from mmpref.run.files import write_atomic
from mmpref.run.results_text import spread_texts

_COLUMN_TEXTS = {
    "images": "the images; they belong to the first user turn",
    "prompt": "the conversation up to the answer (role, content)",
    "chosen": "the source's answer, as one assistant turn",
    "rejected": "the answer to train away from",
    "rejected_policy": "a second rejected answer, for averaged losses",
    "source": "the set that the source's row comes from",
    "chosen_model": "who wrote the chosen answer",
    "rejected_model": "who wrote the rejected answer",
    "margin": "by how much the chosen answer was rated better",
    "severity": "how grave the source finds the rejected answer's mistakes",
    "hardness": "how much better the source measured the chosen answer to be",
    "chosen_weights": "weights of words of the chosen answer, by the characters where they begin and end",
    "rejected_weights": "weights of words of the rejected answer",
    "id": "identifies the pair",
    "method": "how the rejected answer was made",
    "similarity": "cosine similarity of both answers; empty where not measured",
    "iterations": "tries that it took, from 1",
    "seed": "of the run",
    "source_id": "the row of the source",
}

_CONTEXT_TEXTS = {
    "prompt": "the conversation up to the answers (role, content); where its last turn is the assistant's, that is the "
    "beginning of an answer, and both answers continue it",
    "chosen": "the answer, or what continues one, to train towards, as one assistant turn",
    "rejected": "the answer, or what continues one, to train away from",
}
"""Of a set with such rows."""

_SECOND_TEXTS = {
    "rejected": "the source's answer to train away from",
    "method": "how the second rejected answer was made",
    "similarity": "cosine similarity of the chosen and the second rejected answer; empty where not measured",
    "iterations": "tries that the second rejected answer took, from 1",
}
"""Of a set with two rejected answers a row, of which the second was written here."""

_UNSTATED_LICENCE = " The source does not say which: find out before you use or share them."
_UNREADABLE_LICENCE = " The source states it in a way that could not be read: look there before you use or share them."

STATISTICS = "statistics.png"
"""The picture of a dataset's statistics, which its card shows where the run has one."""


def write_dataset_card(path: Path, manifest: Mapping[str, Any]) -> None:
    """Write ``README.md`` of a dataset run, and the pictures that it shows.

    Args:
        path: the run directory: ``data/<split>-*.parquet`` and ``report.json``.
        manifest: what ``run.json`` holds or will hold (command, recipe, recipe_hash, model, source, counts...).
    """
    card, pictures = card_and_pictures(path, manifest)
    for name, content in pictures.items():
        write_atomic(path / name, content)
    write_atomic(path / "README.md", card)


def card_and_pictures(
    path: Path, manifest: Mapping[str, Any], hub_id: str | None = None
) -> tuple[str, dict[str, bytes]]:
    """The text of a dataset card, and the JPEG files by path that it shows.

    Args:
        path, manifest: as of `write_dataset_card`.
        hub_id: the repository that the card is for; without it the loading code has a placeholder.

    Raises:
        HubError: the metadata would be broken.
    """
    from huggingface_hub import DatasetCardData

    manifest = public(manifest)
    recipe, source, model = manifest["recipe"], manifest["source"], manifest["model"]
    report = json.loads((path / "report.json").read_text(encoding="utf-8"))
    splits = list(manifest.get("splits") or [recipe["split"]])
    facts = preview(path / "data", splits)
    named = [portable(entry["id"]) for entry in source.get("sources") or [source]]
    of_what = " + ".join(map(last_part, named))
    second = bool(recipe.get("keep_rejected"))
    making = _making(manifest)
    licence = licence_fields(source.get("licence"), _source_link(source))
    fields: dict[str, Any] = {**licence, **({"language": ["en"]} if facts.english else {})}
    data = DatasetCardData(
        **fields,
        pretty_name=plain_name(f"{_begin(method_title(manifest))} preference pairs from {of_what}"),
        task_categories=[TASK],
        size_categories=[size_category(facts.rows)],
        tags=_tags(manifest, facts.methods),
    )
    facts.describe_in(data)
    repo = hub_id or "path/to/this/folder"
    command = command_of(manifest)
    cited = paper_of(manifest) if making.written else ""
    card = render_card(
        "dataset",
        data,
        manifest,
        run_code=code(manifest["recipe_hash"]),
        title=text(data.pretty_name),
        pairs=counted(facts.rows, "preference pair"),
        pairs_here=counted(facts.rows, "pair that is", "pairs that are"),
        images=f"{counted(facts.images, 'image')}, repeats counted",
        split=code(recipe["split"]),
        splits=" and ".join(f"{code(name)} ({rows:,})" for name, (rows, _) in facts.splits.items())
        if len(splits) > 1
        else "",
        source=code(" + ".join(named)),
        source_revision=content_id(source),
        licence=code(licence.get("license_name", licence["license"])),
        licence_note=_licence_note(source) if licence["license"] == "unknown" else "",
        language_note="" if facts.english else "The language of the texts was not determined.",
        variant=_variant_text(recipe.get("builder") or {}),
        sources=[_source_row(entry) for entry in source.get("sources", ())],
        model=code(model["id"]) if model else "",
        model_revision=_revision_text(manifest) if model else "",
        adapter=_adapter_text(manifest.get("adapter")),
        server=code(manifest["server"]["model"]) if manifest.get("server") else "",
        keep_rejected=second,
        written=making.written,
        chosen_written="chosen" in making.written,
        corrected=making.corrected,
        rewritten=making.rewritten,
        limits=limits(making),
        cited=cited,
        paper=paper_link(cited) if cited else "",
        bibtex=bibtex(cited),
        painted=bool(manifest.get("painted")),
        annotator_counts=counts_table(manifest.get("annotator") or {}),
        noted=counts_table(manifest.get("notes") or {}, "counted while it was made"),
        caveat=" (put your own paths in)" if "/path/to/" in command else "",
        command=fence(command, "bash"),
        columns=[(code(name), _column_text(name, facts.contexts, making)) for name in facts.columns],
        contexts=f"{facts.contexts:,}" if facts.contexts else "",
        context_rows=counted(facts.contexts, "row"),
        statistics=_statistics_table(report, second),
        warnings=[text(warning) for warning in report.get("warnings", ())],
        picture=STATISTICS if (path / STATISTICS).is_file() else "",
        skipped=_skipped_text(manifest["counts"]["skipped"]),
        made_by=", ".join(f"{code(name)} {rows:,}" for name, rows in facts.methods.items())
        if len(facts.methods) > 1
        else "",
        tried="iterations" in (recipe.get("builder") or {}),
        resolved=_resolved_table(report),
        same_as_chosen=counted(same, "row is", "rows are")
        if (same := manifest["counts"]["skipped"].get("same-as-chosen"))
        else "",
        controls=", ".join(map(code, _controls(facts.methods))),
        masking=_masking_text(report.get("masking"), recipe.get("builder") or {}),
        rho_choice=_rho_choice(report.get("rho_auto")),
        samples=facts.samples,
        load=fence(snippets.load_dataset(repo, recipe["split"]), "python"),
        train=fence(snippets.train_with_trl(repo, recipe["split"], bool(facts.contexts)), "python"),
    )
    return card, {name: content for sample in facts.samples for name, content in sample.pictures.items()}


def _licence_note(source: Mapping[str, Any]) -> str:
    """Of a source whose licence is not known."""
    return _UNREADABLE_LICENCE if source.get("licence") == UNREADABLE else _UNSTATED_LICENCE


def _resolved_table(report: Mapping[str, Any]) -> str:
    """By each try, how many pairs it took, and the share of all that is resolved by then."""
    rows = [
        (str(row["try"]), f"{row['pairs']:,}", f"{share:.1%}")
        for row, share in zip(report["resolved"], resolved_shares(report), strict=True)
    ]
    return table(("try", "pairs", "resolved so far"), rows)


def _begin(title: str) -> str:
    """A title with a capital at its beginning, but where a name is spelled otherwise, such as mDPO."""
    return title[0].upper() + title[1:] if title.partition("-")[0].islower() else title


def _making(manifest: Mapping[str, Any]) -> Making:
    recipe = manifest["recipe"]
    return Making(
        written=tuple(_written(manifest)),
        model=bool(manifest["model"]),
        annotator=bool(manifest.get("annotator")),
        threshold="similarity_threshold" in (recipe.get("builder") or {}),
        corrected=bool(manifest.get("corrected")),
        rewritten=bool(manifest.get("rewritten")),
        second=bool(recipe.get("keep_rejected")),
        control=_is_control(method_name(manifest)),
    )


def _column_text(name: str, contexts: int, making: Making) -> str:
    if making.second and name in _SECOND_TEXTS:
        return _SECOND_TEXTS[name]
    # Neither own answers nor those that a control moved there are the source's chosen ones.
    others = "chosen" in making.written or (making.control and not making.written)
    if name == "chosen" and others and not contexts:
        return "the answer to train towards, as one assistant turn"
    return (_CONTEXT_TEXTS if contexts and name in _CONTEXT_TEXTS else _COLUMN_TEXTS).get(name, "")


def _skipped_text(skipped: Mapping[str, int]) -> str:
    """Rows that were left out, by the code of the reason and its meaning."""
    parts = (
        f"{rows:,} {text(reason)}" + (f" ({text(REASONS[reason])})" if reason in REASONS else "")
        for reason, rows in skipped.items()
    )
    return "; ".join(parts) or "none"


def _revision_text(manifest: Mapping[str, Any]) -> str:
    """Of the model that was used."""
    if manifest.get("server"):
        return "not known: it was behind a server"
    return code(manifest["model"].get("revision") or "none (a local model)")


def _adapter_text(adapter: Mapping[str, Any] | None) -> str:
    """Its name, and its commit or the hash of its weights; "" where there is none."""
    return f"{code(portable(adapter['id']))}, {code(adapter.get('revision') or adapter['weights'])}" if adapter else ""


def _tags(manifest: Mapping[str, Any], methods: Mapping[str, int]) -> list[str]:
    """What the set is searched by: its form, its method, whether a model wrote answers here, and whether it is there to
    compare with."""
    is_control = _is_control(method_name(manifest))
    kind = ["control"] if is_control or _controls(methods) else []
    topic = [] if is_control else ["hallucination"]
    here = bool(manifest["model"] or manifest.get("annotator"))
    # Where nothing was written here, rows may be of sets that mmpref wrote before.
    generated = here if _written(manifest) else bool(methods_that_write(methods))
    written = ["synthetic"] if generated else []
    return [*dict.fromkeys(["preference", "dpo", *TAGS, *topic, *written, *kind, method_name(manifest), *methods])]


def _written(manifest: Mapping[str, Any]) -> Sequence[str]:
    """The columns that were written here."""
    columns: Sequence[str] = manifest.get("written", ["rejected"] if manifest["model"] else [])
    return columns


def _controls(methods: Mapping[str, int]) -> list[str]:
    """Those of the methods that are there to compare with."""
    return [method for method in methods if _is_control(method)]


def _is_control(method: str) -> bool:
    return summary_of("build-dataset", method).startswith(CONTROL)


def _source_link(source: Mapping[str, Any]) -> str | None:
    name, _ = dataset_of(source["id"])
    return f"https://huggingface.co/datasets/{name}" if is_commit(source.get("revision")) and name else None


def _source_row(source: Mapping[str, Any]) -> tuple[str, str, str]:
    """One of several sources: name, revision or content, licence."""
    return code(portable(source["id"])), content_id(source), code(source.get("licence") or "unknown")


def _variant_text(builder: Mapping[str, Any]) -> str:
    """What was done instead of the method's first line, where settings say so."""
    noise = builder.get("noise_steps") if "rho_th" in builder else None
    noisy = f" Here the image was shown under noise ({noise} of 1000 diffusion steps), and no image token was hidden."
    return (noisy if noise else "") + (" Answers were written whole." if builder.get("guidance") is False else "")


def _masking_text(masking: Mapping[str, float] | None, builder: Mapping[str, Any]) -> str:
    """What a try shows of an image, in both units; nothing where no image token was hidden, or it was not recorded.

    Args:
        builder: settings of the method.
    """
    if not masking:
        return ""
    shown, of, rho = (format_number(masking[name]) for name in ("visible_tokens", "image_tokens", "rho_th"))
    few = (
        "; less than one, so that many tries show nothing of the image: `--rho-th auto` finds how many this model "
        "needs, `--visible-tokens N` says it"
    )
    return f"{shown} of {of} in the mean (rho_th {rho})" + (
        few if shows_next_to_nothing(builder.get("rho_th"), masking["visible_tokens"]) else ""
    )


def _rho_choice(choice: Mapping[str, Any] | None) -> str:
    """How many image tokens a try shows was chosen by what; nothing where rho_th was given."""
    if not choice:
        return ""
    rows = [
        (
            "all" if point["visible_tokens"] is None else format_number(point["visible_tokens"]),
            format_number(point["rho_th"]),
            f"{point['resolved']:.1%}",
            "chosen" if point["visible_tokens"] == choice["chosen"] else "",
        )
        for point in choice["curve"]
    ]
    rule = (
        "How many image tokens a try shows was chosen by what first tries resolve on "
        f"{counted(choice['rows'], 'row')}: the most visible tokens within {100 * choice['within']:.0f} points of the "
        "best share."
    )
    return f"{rule}\n\n" + table(("visible tokens", "rho_th", "resolved by the first try", ""), rows)


def _statistics_table(report: Mapping[str, Any], second: bool) -> str:
    """Spreads of lengths and differences, and the ratio of mean lengths that builds and inspections print, too; of
    sets with a second rejected answer the similarity is that one's."""
    words = {f"words, {column}": report["words"][column] for column in ("chosen", "rejected")}
    measures = {
        "share of words that differ": report["differing_words"],
        f"cosine similarity{', second rejected' if second else ''}": report["similarity"],
    }
    spreads = (words | measures).items()
    rows = [(name, *(spread_texts(spread, counts=name in words) or ["–"] * 4)) for name, spread in spreads]
    ratio = report["length_bias"]["ratio"]
    length = "" if ratio is None else f"\n\n{LENGTH_RATIO[0].upper()}{LENGTH_RATIO[1:]}: {ratio:.3f}."
    return table(("", "mean", "median", "min", "max"), rows) + length
