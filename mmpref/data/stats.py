"""Statistics of preference rows: the build report, computed from the data files themselves."""

from __future__ import annotations

import difflib
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from mmpref.data.builder import SAME
from mmpref.log import counted
from mmpref.tables.weights import NUMBERS as WEIGHTS
from mmpref.types import Skip, text_of
from mmpref.words import words

SHOWN_IDS = 20
SHARES = [round(0.05 * step, 2) for step in range(21)]
UNEVEN = 0.03
"""Rejected answers that are longer or shorter than chosen ones by more than this share are warned of."""
EDGES = [-1.0, 0.0, *[round(0.05 * step, 2) for step in range(1, 21)]]


def build_report(
    folder: Path,
    splits: Sequence[str],
    skips: Sequence[Skip],
    iterations: int,
    threshold: float | None = None,
    kept: bool = False,
) -> dict[str, Any]:
    """What came out: skips by reason, pairs resolved per try (the paper's figure 10), similarities, lengths.

    ``length_bias`` and ``words`` are in words; ``characters`` and ``length_ratio`` (pair by pair, rejected over chosen)
    in characters.

    Args:
        iterations: tries that the method allows.
        threshold: a pair whose similarity is not below it was kept unresolved when the tries ran out.
        kept: whether the pairs are the source's own. Where methods have made some of them by tries, above which
            similarity they are unresolved is not known, so that ``resolved`` is empty.
    """
    lengths: dict[str, list[int]] = {"chosen": [], "rejected": []}
    policy_lengths: list[tuple[int, int]] = []
    characters: dict[str, list[int]] = {"chosen": [], "rejected": []}
    ratios, differing, measured = [], [], []
    tries: list[int] = []
    same = sum(skip.reason == SAME for skip in skips)
    identical = 0
    unweighed = dict.fromkeys(WEIGHTS, 0)
    columns = ["chosen", "rejected", "rejected_policy", "similarity", "iterations", *WEIGHTS]
    for row in _rows(folder, splits, columns):
        for name in WEIGHTS:
            unweighed[name] += row.get(name) is None
        chosen, rejected, similarity = text_of(row["chosen"]), text_of(row["rejected"]), row["similarity"]
        for column, text in (("chosen", chosen), ("rejected", rejected)):
            lengths[column].append(len(words(text)))
            characters[column].append(len(text))
        if row.get("rejected_policy"):
            policy_lengths.append((lengths["chosen"][-1], len(words(text_of(row["rejected_policy"])))))
        ratios += [len(rejected) / len(chosen)] if chosen else []
        differing.append(differing_share(chosen, rejected))
        identical += chosen == rejected
        unresolved = threshold is not None and similarity is not None and similarity >= threshold
        tries.append(0 if unresolved else row["iterations"])
        measured += [] if similarity is None else [similarity]
    biases = {
        "rejected": length_bias(lengths["chosen"], lengths["rejected"]),
        **({"rejected_policy": length_bias(*zip(*policy_lengths, strict=True))} if policy_lengths else {}),
    }
    return {
        "rows": len(differing),
        "skipped": _skipped(skips),
        "resolved": [] if kept and measured else resolved_per_try(tries, max(iterations, *tries, 1), same),
        "similarity": {"edges": EDGES, "counts": histogram(measured), **spread(measured)},
        "words": {column: spread(values) for column, values in lengths.items()},
        "characters": {column: spread(values) for column, values in characters.items()},
        "length_ratio": spread(ratios),
        "length_bias": biases["rejected"],
        "warnings": [
            *(warning for column, bias in biases.items() for warning in length_warnings(bias, column)),
            *_weight_warnings(unweighed, len(differing)),
        ],
        "differing_words": spread(differing),
        "identical": identical,
        "histograms": {
            "differing_words": {"edges": SHARES, "counts": histogram(differing, SHARES)},
            "words": _words_histogram(lengths),
        },
    }


def _rows(folder: Path, splits: Sequence[str], columns: list[str]) -> Iterator[dict[str, Any]]:
    import pyarrow.parquet as pq

    for file in (file for split in splits for file in sorted(folder.glob(f"{split}-*.parquet"))):
        for batch in pq.ParquetFile(file, pre_buffer=False).iter_batches(batch_size=1024, columns=columns):
            yield from batch.to_pylist()


def _skipped(skips: Iterable[Skip]) -> dict[str, Any]:
    reasons: dict[str, Any] = {}
    for skip in skips:
        entry = reasons.setdefault(skip.reason, {"count": 0, "first": []})
        entry["count"] += 1
        if len(entry["first"]) < SHOWN_IDS:
            entry["first"].append({"id": skip.id, "detail": skip.detail})
    return dict(sorted(reasons.items()))


def resolved_per_try(tries: Sequence[int], iterations: int, same: int = 0) -> list[dict[str, Any]]:
    """For every try: pairs accepted in it, and how many are resolved by then as a share of the dataset's pairs
    (``share_of_pairs``) and of these and the rows that were left out since both answers came out equal
    (``share_of_tried``, set beside the paper's Figure 10). Rows that were left out for another reason, such as an
    answer that was cut off, or empty, count in neither.

    Args:
        tries: of each pair of the dataset, from 1; 0 for a pair that no try resolved.
        same: rows that were tried and left out, since both answers came out equal.
    """
    accepted = [tries.count(attempt) for attempt in range(1, iterations + 1)]
    return [
        {
            "try": attempt,
            "pairs": pairs,
            "share_of_pairs": round(resolved / len(tries), 6),
            "share_of_tried": round(resolved / (len(tries) + same), 6),
        }
        for attempt, (pairs, resolved) in enumerate(zip(accepted, accumulate(accepted), strict=True), 1)
    ]


def histogram(values: Sequence[float], edges: Sequence[float] = EDGES) -> list[int]:
    """Counts between edges; the last bin includes its upper edge, and the outer ones all that lies beyond."""
    import numpy as np

    return np.histogram(np.clip(values, edges[0], edges[-1]), bins=edges)[0].tolist()


def length_bias(chosen: Sequence[int], rejected: Sequence[int]) -> dict[str, Any]:
    """How lengths of answers differ: chosen minus rejected words, the share of pairs whose chosen answer is longer, and
    ``ratio``, the mean length of rejected answers over that of chosen ones.

    The ratio is one of means. A mean of ratios is above 1 wherever lengths vary at all, whichever answers are longer.

    Args:
        chosen, rejected: words of the answers, pair by pair.
    """
    pairs = list(zip(chosen, rejected, strict=True))
    return {
        **spread([c - r for c, r in pairs]),
        "chosen_longer": round(sum(c > r for c, r in pairs) / len(pairs), 4) if pairs else None,
        "ratio": round(sum(rejected) / sum(chosen), 4) if sum(chosen) else None,
    }


def length_warnings(bias: Mapping[str, Any], column: str = "rejected") -> list[str]:
    """What to say where rejected answers are longer or shorter than chosen ones by more than `UNEVEN`.

    Args:
        bias: as `length_bias` finds it.
        column: the rejected answers'.
    """
    ratio = bias["ratio"]
    if ratio is None or abs(round(ratio - 1, 4)) <= UNEVEN:
        return []
    answers = "Rejected answers" if column == "rejected" else f"Answers in {column}"
    than, taught = ("longer", "shorter") if ratio > 1 else ("shorter", "longer")
    return [
        f"{answers} are {abs(ratio - 1):.1%} {than} than chosen ones, in words: "
        f"DPO then also teaches the policy to write {taught} answers."
    ]


def _weight_warnings(missing: Mapping[str, int], rows: int) -> list[str]:
    """What to say where some rows have a number that methods weigh by, and others have none.

    Args:
        missing: rows without, by column.
    """
    return [
        f"{column} is empty in {count:,} of {counted(rows, 'pair')}, which methods of training that read it skip."
        for column, count in missing.items()
        if 0 < count < rows
    ]


def _words_histogram(lengths: dict[str, list[int]]) -> dict[str, list[int]]:
    """Answers by their words, in some twenty bins up to the longest."""
    longest = max((max(values, default=0) for values in lengths.values()), default=0)
    step = max(1, -(-(longest + 1) // 20))
    edges = list(range(0, longest + step + 1, step))
    return {"edges": edges, **{column: histogram(values, edges) for column, values in lengths.items()}}


def spread(values: Sequence[float]) -> dict[str, float | None]:
    """Mean, median, least and greatest."""
    if not values:
        return {"mean": None, "median": None, "min": None, "max": None}
    return {
        "mean": round(statistics.fmean(values), 4),
        "median": round(statistics.median(values), 4),
        "min": round(min(values), 4),
        "max": round(max(values), 4),
    }


def differing_share(chosen: str, rejected: str) -> float:
    """Share of words that are not in a common run of both answers, 0 (equal) to 1 (nothing in common)."""
    return 1 - difflib.SequenceMatcher(None, words(chosen), words(rejected), autojunk=False).ratio()
