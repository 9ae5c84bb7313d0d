"""`mmpref.inspect`: statistics and problems of a preference dataset; or where a model's hallucinations come from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, overload

from mmpref.api.diagnosis import Diagnosis, diagnose
from mmpref.api.models import model_ref, named_model
from mmpref.api.options import NameOrPath, as_spec, as_specs, refuse_no_rows
from mmpref.api.progress import Progress, library_bars
from mmpref.api.results import Inspection
from mmpref.api.state import process_restored
from mmpref.errors import UsageError
from mmpref.hub_ids import refuse_revision_alone

if TYPE_CHECKING:
    from mmpref.data.inspect import Sample

ROWS = 200
"""That a model is asked about, unless something else is said."""


@overload
def inspect(
    dataset: None = None,
    *,
    split: str | None = None,
    revision: str | None = None,
    image_root: NameOrPath | Sequence[NameOrPath] | None = None,
    columns: Mapping[str, str] | None = None,
    model: Any = None,
    adapter: NameOrPath | None = None,
    adapter_revision: str | None = None,
    source: Any = None,
    rows: int | None = None,
    synonyms: NameOrPath | None = None,
    progress: bool = True,
) -> Diagnosis: ...


@overload
def inspect(
    dataset: Any,
    *,
    split: str | None = None,
    revision: str | None = None,
    image_root: NameOrPath | Sequence[NameOrPath] | None = None,
    columns: Mapping[str, str] | None = None,
    model: Any = None,
    adapter: NameOrPath | None = None,
    adapter_revision: str | None = None,
    source: None = None,
    rows: int | None = None,
    synonyms: NameOrPath | None = None,
    progress: bool = True,
) -> Inspection: ...


def inspect(
    dataset: Any = None,
    *,
    split: str | None = None,
    revision: str | None = None,
    image_root: NameOrPath | Sequence[NameOrPath] | None = None,
    columns: Mapping[str, str] | None = None,
    model: Any = None,
    adapter: NameOrPath | None = None,
    adapter_revision: str | None = None,
    source: Any = None,
    rows: int | None = None,
    synonyms: NameOrPath | None = None,
    progress: bool = True,
) -> Inspection | Diagnosis:
    """Read all rows of a preference dataset and say what is in it and what is wrong with it; ``mmpref inspect``.

    Without a dataset, of a model alone: where the hallucinations of its own answers come from. What that says of BDHS
    was tried on 13 models of the testbed (`mmpref.bench.hallucination_sources.TESTED`).

    Args:
        dataset: what `build_dataset` gave, a folder, a file, a Hub id, or rows in memory (``datasets.Dataset``, pandas
            frame, iterable of dicts).
        split: of the dataset, or the source; by default ``train``.
        revision: of a Hub dataset.
        image_root: folders or ``.zip`` files that image paths are relative to.
        columns: what the rows of the dataset or source call their parts, such as ``{"prompt": "question"}``.
        model: score the answers under this model (a name, or a loaded one): margins of log-probability in nats, and
            lengths in tokens, over the tokens that training counts, an answer's end (EOS) among them.
            Without a dataset, the model to look into.
        adapter: of the model, on: what `train` gave, Hub id or folder.
        adapter_revision: of the adapter.
        source: rows to ask the model about: with reference answers of two sentences or more, or with the image's
            objects (``objects``, or ``gt_object``); by default the testbed's for its own model.
        rows: so many of them at most; by default 200.
        synonyms: table of objects and words as CHAIR's authors have it; without one, words are those of the references.
        progress: say how far it is: a bar in a terminal or a notebook, a log line now and then elsewhere.

    Returns:
        The report, with problems by kind, row and column; or the `Diagnosis`, with its conclusion.

    Raises:
        UsageError: neither dataset nor model, a dataset and what is for a model alone, an adapter without its base, or
            a revision without its adapter.
        InputError: no such dataset or split, no rows, or rows that are no preference data.
        ModelError: a model that cannot be loaded.
    """
    refuse_no_base(model, adapter, adapter_revision)
    adapted: dict[str, Any] = {"adapter": adapter, "adapter_revision": adapter_revision}
    if dataset is None:
        if model is None:
            raise UsageError("There is nothing to inspect.", "Name a dataset, or a model.")
        if columns and source is None:
            raise UsageError("--columns is for the rows of a dataset or a source, and none is named.", "Leave it out.")
        where: dict[str, Any] = {"split": split, "revision": revision, "image_root": image_root, "columns": columns}
        return diagnose(
            model, source, **adapted, rows=ROWS if rows is None else rows, synonyms=synonyms, **where, progress=progress
        )
    refuse_of_model(source=source, rows=rows, synonyms=synonyms)
    return run_inspect(
        dataset,
        split=split,
        revision=revision,
        image_root=image_root,
        columns=columns,
        model=model,
        **adapted,
        progress=progress,
    )


def refuse_no_base(model: Any, adapter: Any, adapter_revision: str | None) -> None:
    """Raises:
    UsageError: an adapter without a model, or a revision without an adapter.
    """
    refuse_revision_alone(adapter, adapter_revision)
    if adapter is not None and model is None:
        raise UsageError("An adapter is inspected on its base, and none is named.", "Name it with --model=BASE.")


def refuse_of_model(**given: Any) -> None:
    """Refuse beside a dataset what says how a model alone is looked into.

    Args:
        given: these options; None is not given.

    Raises:
        UsageError: there is one.
    """
    for name, value in given.items():
        if value is not None:
            raise UsageError(
                f"A dataset is inspected by itself; --{name} is for a model alone.", "Leave one of them out."
            )


def run_inspect(
    dataset: Any,
    *,
    split: str | None = None,
    revision: str | None = None,
    image_root: NameOrPath | Sequence[NameOrPath] | None = None,
    columns: Mapping[str, str] | None = None,
    model: Any = None,
    adapter: NameOrPath | None = None,
    adapter_revision: str | None = None,
    on_row: Callable[[Sample], None] | None = None,
    progress: bool = True,
) -> Inspection:
    """`inspect`, with every row shown to somebody.

    Args:
        on_row: is given every row to look at.
    """
    from mmpref.data.inspect import inspect as inspect_rows
    from mmpref.judges.served import refuse_served
    from mmpref.tables.columns import own_columns
    from mmpref.tables.open import open_table, refuse_split

    refuse_served(model, "margins are made of its log-probabilities")
    refuse_no_rows("dataset", dataset)
    spec, roots = as_spec(dataset, own_paths=not image_root), as_specs(image_root)
    refuse_split(spec, split or "train")
    [table] = own_columns([open_table(spec, split, revision=revision)], columns)
    if model is None:
        with Progress("rows", watched=progress) as bar:
            return Inspection(inspect_rows(table, roots, on_row, on_progress=bar.reach))
    from mmpref.data.policy_margins import score_pairs
    from mmpref.vlm.load import load_policy
    from mmpref.vlm.same_tokens import alike_to
    from mmpref.vlm.special_tokens import special_token_in

    options = {"model": model, "adapter": adapter, "adapter_revision": adapter_revision}
    with process_restored(), library_bars(progress), named_model(options, adapters=True) as settings:
        policy = load_policy(model_ref(settings))
        with Progress("rows", watched=progress) as bar:
            special, alike = special_token_in(policy.markup_tokens), alike_to(policy.tokenizer)
            refused = policy.prompter.refused
            report = inspect_rows(table, roots, on_row, special, bar.reach, alike, refused)
        with Progress("rows", watched=progress) as bar:
            return Inspection({**report, "under_model": score_pairs(policy, table, roots, bar.reach)})
