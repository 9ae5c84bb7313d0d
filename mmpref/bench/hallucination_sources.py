"""Where a model's hallucinations come from: the image's gist, or the text before them.

Measured are hallucinated words of the model's own greedy answers, behind the first sentence: how likely the model takes
them, in nats, where the image is hidden and the text before is another row's, and how much likelier it takes them with
a few image tokens (**the gist**), with its own **text before**, and with both. What both add is shared out between them
by the mean over the two orders in which they can be added (Shapley's value, which sums to the whole). Where neither is
seen to add anything, and the rest of the image adds more than either may, its details are misread.

Which words the model would still *say* stands beside it, and concludes nothing: a bias that makes ten things of a place
likely in equal parts brings each back one time in ten, and what the image shows well outdoes any bias.

Why it should matter: BDHS hides image tokens, and so provokes what the gist and the text before suggest. Where
hallucinations follow the image's gist, mismatched captions never touch that path; where they follow the text before,
one would think that any mismatched caption teaches as much ("do not follow that text"), which was not seen. What came
of it on the testbed says `TESTED`. What a reference leaves out of an image is seen there, and speaks for the image.
"""

from __future__ import annotations

import math
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

Conclusion = Literal["gist", "both", "image", "text", "cannot be told"]
TESTED = (
    "Tried on 13 models of the testbed: where they follow both, BDHS lowered hallucination on each of nine, and more"
    " than mismatched captions did; on the one whose words follow the gist alone it did too, but the least of these;"
    " where they follow the text, on one of three, and it raised it on one. Of large models nothing is known."
)
FEWEST, FEWEST_PICTURES = 20, 10
"""Things, and pictures that they are seen in, below which nothing is concluded."""
MOST = 2 / 3
"""Share of what gist and text add from which on one of them is what the words follow: twice the other's."""
_SEED = 0
_EXAMPLES = 8
"""Of the words that were said again, those that are shown."""
CONCLUSIONS: dict[Conclusion, str] = {
    "gist": "They follow the image's gist, twice as much as the text before or more: BDHS, which shows just that,"
    " should pay, and more than mismatched captions.",
    "both": "They follow the image's gist and the text before: BDHS, which shows both, should pay.",
    "image": "They follow the image, but neither a few of its tokens nor the text before is seen to bring them: its"
    " details are misread. BDHS should pay where enough tokens stay visible to bring them (--visible-tokens),"
    " mismatched captions hardly.",
    "text": "They follow the text before, twice as much as the image's gist or more: BDHS may pay or not, and may harm."
    " Try it beside mismatched captions.",
    "cannot be told": "Whether they follow the image's gist or the text before cannot be told.",
}
OUTWEIGHED = (
    " But the rest of the image adds more than both together: mostly its details are misread, which BDHS hides unless"
    " more tokens stay visible (--visible-tokens)."
)
"""Said behind a conclusion that compares the gist and the text with each other alone."""


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
        measured_rows, measured_pictures: how many rows they are in, and how many pictures these are about.
        measured_things: how many there are without repeats: of each picture, each thing once.
        left_out: why the others were not, by reason.
        cells: one for each context; empty where nothing was measured.
        gist: what a few image tokens add to a word's log-probability, the mean in nats.
        text: what the text before adds, likewise.
        rest: what the rest of the image adds to the few tokens, the text replaced.
        gist_share: of what gist and text add; NaN where neither adds anything.
        gist_tokens: how many tokens these few are.
        examples: words that survive, for a look: row id, sentence, word, and where it survives.
    """

    rows: int
    names: int
    hallucinated: int
    measured: int
    measured_rows: int
    measured_pictures: int
    measured_things: int
    left_out: Mapping[str, int]
    cells: tuple[Cell, ...]
    gist: Interval | None
    text: Interval | None
    rest: Interval | None
    gist_share: Interval | None
    gist_tokens: int
    examples: tuple[Mapping[str, Any], ...] = ()

    @property
    def is_small(self) -> bool:
        """Whether too little was measured to conclude anything."""
        return self.measured_things < FEWEST or self.measured_pictures < FEWEST_PICTURES

    @property
    def conclusion(self) -> Conclusion:
        """By 95 % intervals."""
        if self.is_small or not (self.gist and self.text and self.rest and self.gist_share):
            return "cannot be told"
        if self.gist.low <= 0 and self.text.low <= 0:
            return "image" if self.rest.low > max(self.gist.high, self.text.high) else "cannot be told"
        if self.gist_share.low > MOST:
            return "gist"
        if self.gist_share.high < 1 - MOST:
            return "text"
        return "both" if self.gist.low > 0 and self.text.low > 0 else "cannot be told"

    @property
    def is_outweighed(self) -> bool:
        """Whether the rest of the image adds more than gist and text together, wherever in their intervals the three
        lie."""
        if self.gist is None or self.text is None or self.rest is None:
            return False
        return self.rest.low > self.gist.high + self.text.high

    @property
    def words(self) -> str:
        """The conclusion in plain words."""
        many = f"{counted(self.measured, 'word')} of {counted(self.measured_rows, 'row')}"
        more = "use more rows"
        if self.measured_pictures < self.measured_rows:
            many, more = f"{many} about {counted(self.measured_pictures, 'picture')}", "use rows about more pictures"
        few = f" Only {many} could be measured: {more}." if self.is_small else ""
        compared = self.conclusion in ("gist", "text", "both")
        return CONCLUSIONS[self.conclusion] + (OUTWEIGHED if compared and self.is_outweighed else "") + few

    def as_plain(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "rows": self.rows,
            "names": self.names,
            "hallucinated": self.hallucinated,
            "measured": self.measured,
            "measured_rows": self.measured_rows,
            "measured_pictures": self.measured_pictures,
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
            "gist": _plain(self.gist),
            "text": _plain(self.text),
            "rest_of_image": _plain(self.rest),
            "gist_share": _plain(self.gist_share),
            "conclusion": self.conclusion,
            "in_words": self.words,
            "examples": [dict(example) for example in self.examples],
        }


def summarise(
    probed: Sequence[Probed],
    ids: Sequence[str],
    pictures: Sequence[int],
    names: int,
    hallucinated: int,
    gist_tokens: int,
) -> Sources:
    """Shares over the mentions that were asked for in every context, with intervals over pictures.

    Args:
        ids: of the rows.
        pictures: of each row the place of the first one about the same picture; their mentions are resampled together.
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
        return Sources(len(ids), names, hallucinated, 0, 0, 0, 0, found, (), None, None, None, None, gist_tokens)
    scores = [Score("", _counts(one)) for one in kept]
    clusters = Clusters.of([f"{pictures[one.row]}" for one in kept], scores)

    def drawn(name: str, image: Image, text: Text) -> np.ndarray:
        return replicates(clusters, rate(name, ALL, f"{name} {image} {text}", "n"), _SEED)

    change = {(image, text): drawn("change", image, text) for image, text in contexts}
    cells = tuple(
        Cell(image, text, percentile_interval(drawn("says", image, text)), percentile_interval(change[image, text]))
        for image, text in contexts
    )
    neither, both = change["hidden", "other"], change["gist", "own"]
    gist = (change["gist", "other"] - neither + both - change["hidden", "own"]) / 2
    text = (change["hidden", "own"] - neither + both - change["gist", "other"]) / 2
    return Sources(
        len(ids),
        names,
        hallucinated,
        len(kept),
        len({one.row for one in kept}),
        len({pictures[one.row] for one in kept}),
        len({(pictures[one.row], one.mention.name) for one in kept}),
        found,
        cells,
        percentile_interval(gist),
        percentile_interval(text),
        percentile_interval(change["shown", "other"] - change["gist", "other"]),
        percentile_interval(_share(gist, text)),
        gist_tokens,
        tuple(_example(one, ids) for one in kept[:_EXAMPLES]),
    )


def _share(gist: np.ndarray, text: np.ndarray) -> np.ndarray:
    """The gist's share of what both add; what makes words less likely adds nothing. NaN where neither adds anything."""
    import numpy as np

    added = gist.clip(min=0), text.clip(min=0)
    total = added[0] + added[1]
    return np.divide(added[0], total, out=np.full_like(total, np.nan), where=total > 0)


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
    """Without what JSON does not have: what is not defined is null."""
    if value is None or math.isnan(value.value):
        return None
    return {name: round(number, 4) for name, number in value._asdict().items()}
