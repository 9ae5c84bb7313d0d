"""Where a model's hallucinations come from: the image's gist, or the text before them.

Measured are hallucinated words of the model's own greedy answers, behind the first sentence, by two questions of the
same words:

* with the image seen and **the text before replaced** by another row's, does the model still say the word? What
  survives comes from the image;
* with the text kept and **the image hidden**, does it? What survives comes from the text.

The conclusion is drawn from the paired difference of these two shares. Where the image decides, a third question tells
what of it: with a few image tokens seen (the gist) and the text replaced, does the word come more often than with none?

Why it should matter: BDHS hides image tokens, and so provokes what the rest of the image suggests. Where hallucinations
follow the text before, any mismatched caption teaches as much ("do not follow that text"); where they follow the
image's gist, mismatched captions never touch that path. This is reasoning (`UNTESTED`): no model of either kind was
aligned to see whether it comes true. What a reference leaves out of an image is seen there, and speaks for the image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from mmpref.bench.benchmark import Score, rate
from mmpref.bench.bootstrap import Clusters, Interval, percentile_interval, replicates
from mmpref.log import counted
from mmpref.run.results import ALL
from mmpref.sampling.bias_probe import IMAGES, TEXTS, Image, Probed, Text

if TYPE_CHECKING:
    import numpy as np

Conclusion = Literal["gist", "image", "text", "cannot be told"]
UNTESTED = "What this says of BDHS is reasoning: it has not been tested by aligning models of both kinds."
FEWEST, FEWEST_ROWS = 20, 10
"""Mentions, and rows that they are in, below which nothing is concluded."""
_SEED = 0
_EXAMPLES = 8
"""Of the words that were said again, those that are shown."""
CONCLUSIONS: dict[Conclusion, str] = {
    "gist": "They follow the image's gist: BDHS, which shows just that, should pay, and more than mismatched captions.",
    "image": "They follow the image, but a few of its tokens do not bring them: its details are misread. BDHS"
    " should pay where enough tokens stay visible to bring them (--visible-tokens), mismatched captions hardly.",
    "text": "They follow the text before: any mismatched caption as the rejected answer should do as well as BDHS.",
    "cannot be told": "Whether they follow the image's gist or the text before cannot be told.",
}


@dataclass(frozen=True)
class Cell:
    """All measured words in one context.

    Args:
        survive: share of them that the model still says.
        log_prob: change of their log-probability against the answer as it was, the mean in nats.
    """

    image: Image
    text: Text
    survive: Interval
    log_prob: Interval


@dataclass(frozen=True)
class Sources:
    """Where hallucinations come from.

    Args:
        rows: answers that were read.
        names: different things that they name, summed over rows.
        hallucinated: those that the reference does not have.
        measured: of these, those that were asked for in every context.
        measured_rows: how many rows they are in.
        left_out: why the others were not, by reason.
        cells: one for each context; empty where nothing was measured.
        difference: surviving with the text replaced minus surviving with the image hidden, of the same words.
        gist: surviving with a few image tokens minus surviving with none, the text replaced.
        gist_tokens: how many tokens these few are.
        examples: words that survive, for a look: row id, sentence, word, and where it survives.
    """

    rows: int
    names: int
    hallucinated: int
    measured: int
    measured_rows: int
    left_out: Mapping[str, int]
    cells: tuple[Cell, ...]
    difference: Interval | None
    gist: Interval | None
    gist_tokens: int
    examples: tuple[Mapping[str, Any], ...] = ()

    @property
    def is_small(self) -> bool:
        """Whether too little was measured to conclude anything."""
        return self.measured < FEWEST or self.measured_rows < FEWEST_ROWS

    @property
    def conclusion(self) -> Conclusion:
        """By the difference's 95 % interval."""
        if self.is_small or self.difference is None or self.gist is None:
            return "cannot be told"
        if self.difference.high < 0:
            return "text"
        if self.difference.low > 0:
            return "gist" if self.gist.low > 0 else "image"
        return "cannot be told"

    @property
    def words(self) -> str:
        """The conclusion in plain words."""
        many = f"{counted(self.measured, 'word')} of {counted(self.measured_rows, 'row')}"
        few = f" Only {many} could be measured: use more rows." if self.is_small else ""
        return CONCLUSIONS[self.conclusion] + few

    def as_plain(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "rows": self.rows,
            "names": self.names,
            "hallucinated": self.hallucinated,
            "measured": self.measured,
            "measured_rows": self.measured_rows,
            "left_out": dict(self.left_out),
            "gist_tokens": self.gist_tokens,
            "cells": [
                {
                    "image": cell.image,
                    "text": cell.text,
                    "survive": _plain(cell.survive),
                    "log_prob_change": _plain(cell.log_prob),
                }
                for cell in self.cells
            ],
            "text_replaced_minus_image_hidden": _plain(self.difference),
            "gist_minus_hidden": _plain(self.gist),
            "conclusion": self.conclusion,
            "in_words": self.words,
            "examples": [dict(example) for example in self.examples],
        }


def summarise(probed: Sequence[Probed], ids: Sequence[str], names: int, hallucinated: int, gist_tokens: int) -> Sources:
    """Shares over the mentions that were asked for in every context, with intervals over rows.

    Args:
        ids: of the rows; mentions of one row are resampled together.
        names, hallucinated: counts over all rows.
    """
    contexts = [(image, text) for text in TEXTS for image in IMAGES]
    first = [one for one in probed if one.sentence == 0]
    alone = [one for one in probed if one.sentence and len(one.found) < len(contexts)]
    whole = [one for one in probed if len(one.found) == len(contexts)]
    kept = [one for one in whole if one.found["shown", "own"].says]
    left_out = {
        "in the first sentence, with no text before": len(first),
        "no other answer fits in the place of the text before": len(alone),
        "not said again where nothing was changed": len(whole) - len(kept),
    }
    found = {reason: count for reason, count in left_out.items() if count}
    if not kept:
        return Sources(len(ids), names, hallucinated, 0, 0, found, (), None, None, gist_tokens)
    scores = [Score("", _counts(one)) for one in kept]
    clusters = Clusters.of([f"{one.row}" for one in kept], scores)

    def drawn(name: str, image: Image, text: Text) -> np.ndarray:
        return replicates(clusters, rate(name, ALL, f"{name} {image} {text}", "n"), _SEED)

    cells = tuple(
        Cell(
            image,
            text,
            percentile_interval(drawn("says", image, text)),
            percentile_interval(drawn("change", image, text)),
        )
        for image, text in contexts
    )
    difference = percentile_interval(drawn("says", "shown", "other") - drawn("says", "hidden", "own"))
    gist = percentile_interval(drawn("says", "gist", "other") - drawn("says", "hidden", "other"))
    return Sources(
        len(ids),
        names,
        hallucinated,
        len(kept),
        len({one.row for one in kept}),
        found,
        cells,
        difference,
        gist,
        gist_tokens,
        tuple(_example(one, ids) for one in kept[:_EXAMPLES]),
    )


def _counts(one: Probed) -> dict[str, float]:
    base = one.found["shown", "own"].log_prob
    counts = {"n": 1.0}
    for (image, text), said in one.found.items():
        counts[f"says {image} {text}"] = float(said.says)
        counts[f"change {image} {text}"] = said.log_prob - base
    return counts


def _example(one: Probed, ids: Sequence[str]) -> dict[str, Any]:
    return {
        "row": ids[one.row],
        "word": one.mention.name,
        "sentence": one.sentence,
        "text replaced": one.found["shown", "other"].says,
        "image hidden": one.found["hidden", "own"].says,
    }


def _plain(value: Interval | None) -> dict[str, float] | None:
    return None if value is None else {name: round(number, 4) for name, number in value._asdict().items()}
