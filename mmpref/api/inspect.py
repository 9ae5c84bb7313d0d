"""`mmpref.inspect`: statistics and problems of a preference dataset."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from mmpref.api.models import named_model
from mmpref.api.options import NameOrPath, as_spec, as_specs, model_name, refuse_no_rows
from mmpref.api.progress import Progress, library_bars
from mmpref.api.results import Inspection
from mmpref.api.state import process_restored

if TYPE_CHECKING:
    from mmpref.data.inspect import Sample


def inspect(
    dataset: Any,
    *,
    split: str | None = None,
    revision: str | None = None,
    image_root: NameOrPath | Sequence[NameOrPath] | None = None,
    model: Any = None,
    progress: bool = True,
) -> Inspection:
    """Read all rows of a preference dataset and say what is in it and what is wrong with it; ``mmpref inspect``.

    Args:
        dataset: what `build_dataset` gave, a folder, a file, a Hub id, or rows in memory (``datasets.Dataset``, pandas
            frame, iterable of dicts).
        split: by default ``train``.
        revision: of a Hub dataset.
        image_root: folders or ``.zip`` files that image paths are relative to.
        model: score the answers under this model (a name, or a loaded one): margins in nats, lengths in its tokens.
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
    image_root: NameOrPath | Sequence[NameOrPath] | None = None,
    model: Any = None,
    on_row: Callable[[Sample], None] | None = None,
    progress: bool = True,
) -> Inspection:
    """`inspect`, with every row shown to somebody.

    Args:
        on_row: is given every row to look at.
    """
    from mmpref.data.inspect import inspect as inspect_rows
    from mmpref.tables.open import open_table, refuse_split

    refuse_no_rows("dataset", dataset)
    spec, roots = as_spec(dataset, own_paths=not image_root), as_specs(image_root)
    refuse_split(spec, split or "train")
    table = open_table(spec, split, revision=revision)
    if model is None:
        return Inspection(inspect_rows(table, roots, on_row))
    from mmpref.data.policy_margins import score_pairs
    from mmpref.types import ModelRef
    from mmpref.vlm.load import load_policy
    from mmpref.vlm.special_tokens import special_token_in

    with process_restored(), library_bars(progress), named_model({"model": model}) as settings:
        policy = load_policy(ModelRef(model_name("model", settings["model"])))
        report = inspect_rows(table, roots, on_row, special_token_in(policy.markup_tokens))
        with Progress("rows", watched=progress) as bar:
            return Inspection({**report, "under_model": score_pairs(policy, table, roots, bar.reach)})
