"""`mmpref.inspect`: statistics and problems of a preference dataset."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mmpref.api.options import RecipeName, one_or_several, place
from mmpref.api.progress import Progress
from mmpref.api.results import Inspection
from mmpref.api.state import threads_restored
from mmpref.hub_ids import model_id

if TYPE_CHECKING:
    from mmpref.data.inspect import Sample


def inspect(
    dataset: Any,
    *,
    split: str | None = None,
    revision: str | None = None,
    image_root: RecipeName | Sequence[RecipeName] | None = None,
    model: Any = None,
    progress: bool = True,
) -> Inspection:
    """Read all rows of a preference dataset and say what is in it and what is wrong with it; ``mmpref inspect``.

    Args:
        dataset: what `build_dataset` gave, a folder, a file or a Hub id.
        split: by default ``train``.
        revision: of a Hub dataset.
        image_root: folders or ``.zip`` files that image paths are relative to.
        model: score the answers under this model: margins in nats, lengths in its tokens.
        progress: show a bar where somebody watches: in a terminal or a notebook.

    Returns:
        The report, with problems by kind, row and column.

    Raises:
        InputError: no such dataset or split, no rows, or rows that are no preference data.
        ModelError: a model that cannot be loaded.
    """
    return run_inspect(dataset, split=split, revision=revision, image_root=image_root, model=model, progress=progress)


def run_inspect(
    dataset: Any,
    *,
    split: str | None = None,
    revision: str | None = None,
    image_root: RecipeName | Sequence[RecipeName] | None = None,
    model: Any = None,
    on_row: Callable[[Sample], None] | None = None,
    progress: bool = True,
) -> Inspection:
    """`inspect`, with every row shown to somebody.

    Args:
        on_row: is given every row to look at.
    """
    from mmpref.data.inspect import inspect as read
    from mmpref.tables.open import open_table, refuse_split

    spec, roots = place(dataset), one_or_several(image_root)
    refuse_split(spec, split or "train")
    table = open_table(spec, split, revision=revision)
    if model is None:
        return Inspection(read(table, roots, on_row))
    from mmpref.data.policy_margins import under_model
    from mmpref.types import ModelRef
    from mmpref.vlm.policy import Policy
    from mmpref.vlm.special_tokens import special_token_in, special_tokens_of

    with threads_restored():
        policy = Policy.load(ModelRef(model_id(place(model))))
        report = read(table, roots, on_row, special_token_in(special_tokens_of(policy.tokenizer)))
        with Progress("rows", watched=progress) as bar:
            return Inspection({**report, "under_model": under_model(policy, table, roots, bar.reach)})


def lines(report: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The statistics of a report, by name."""
    bias, similarity = report["length_bias"], report["similarity"]
    yield "rows", str(report["rows"])
    yield "columns", ", ".join(report["columns"])
    yield "problems", ", ".join(f"{entry['count']} {kind}" for kind, entry in report["problems"].items()) or "none"
    for name in ("chosen", "rejected"):
        yield f"words in {name} (mean, median, least, most)", _spread(report["words"][name])
    yield "chosen minus rejected words", _spread(bias)
    if bias["chosen_longer"] is not None:
        yield "rows whose chosen answer is longer", f"{bias['chosen_longer']:.1%}"
    if bias["ratio"] is not None:
        yield "length of rejected answers over chosen ones", f"{bias['ratio']:.3f}"
    for warning in report["warnings"]:
        yield "WARNING", warning
    if similarity["measured"]:
        yield f"similarity of {similarity['measured']} rows", _spread(similarity)
    if report["not_read"]:
        yield "columns like answers or parts of the question that are not read", ", ".join(report["not_read"])
    if report["changed"]:
        yield (
            "rows changed as training changes them",
            ", ".join(f"{count} {what.replace('_', ' ')}" for what, count in report["changed"].items()),
        )
    yield "share of words that differ", _spread(report["differing_words"])
    yield "images a row", ", ".join(f"{count}: {rows} rows" for count, rows in report["images_per_row"].items())
    yield "sources", ", ".join(f"{name}: {rows} rows" for name, rows in list(report["sources"].items())[:8])
    for kind, entry in report["near_duplicates"].items():
        first = entry["first"][0]
        yield (
            f"rows whose {kind} nearly equal{'s' * (kind == 'image')} an earlier row's",
            (f"{entry['count']}, the first: row {first['row']} like {first['like']}"),
        )
    for name, counts in report["repeats"]["tells"].items():
        yield name, f"{counts['rejected']} rejected, {counts['chosen']} chosen answers"
    yield "methods", ", ".join(f"{name}: {rows} rows" for name, rows in report["methods"].items())
    if under := report.get("under_model"):
        yield f"log-probability margin under {under['model']}", _spread(under["margin"])
        yield "the same a token", _spread(under["margin_per_token"])
        if under["prefers_chosen"] is not None:
            yield (
                "rows where it prefers chosen (by sum, by token)",
                (f"{under['prefers_chosen']:.1%}, {under['prefers_chosen_per_token']:.1%}"),
            )
        yield "image tokens a row", _spread(under["image_tokens"])
        yield f"tokens a row, of {under['context']}", _spread(under["tokens"])


def _spread(values: Mapping[str, float | None]) -> str:
    if values["mean"] is None:
        return "no pair to measure"
    return ", ".join(f"{values[name]:g}" for name in ("mean", "median", "min", "max"))
