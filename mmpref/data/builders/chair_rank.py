"""CHAIR-DPO's pairs: several answers of the model, ranked by the objects that they name and the image does not show.

Of CHAIR-DPO is the idea that CHAIR itself (arXiv 1809.02156) can tell the model's own answers apart, without an
annotator. There a detector says what an image shows; here a list in the row does (``objects`` or ``gt_object``:
annotations, or what a detector of yours found), or the source's own answer (``truth: answer``). Objects are found in
answers as the benchmark CHAIR finds them, by a table of synonyms. Chosen is the answer with the smallest share of
mentions that are not shown (chair_i), rejected that with the greatest. Ours is the rule among equals: the best names
more of what is shown, the worst less, then the first sampled counts; and that an answer without any mention takes no
part. ``margin`` is the difference in chair_i. Reasons for a skip: ``no-objects``, ``one-answer`` (fewer than two
answers name an object) and ``tie`` (the difference is too small).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from mmpref.data.builder import Builder, Context
from mmpref.data.builders._objects import ListedObjects, ObjectSettings
from mmpref.data.builders._own import Pick, SampledSettings, SamplingWorker
from mmpref.errors import UsageError
from mmpref.types import Example, Pair, Skip


@dataclass(frozen=True)
class Settings(SampledSettings, ObjectSettings):
    """Settings of ranking by CHAIR.

    Args:
        truth: what an image shows: ``objects`` as the row lists them, or those that the source's own answer names
            (``answer``), which should then leave nothing out.
        min_margin: chair_i (0 to 1) between chosen and rejected; pairs without any difference are never made.
    """

    truth: Literal["objects", "answer"] = "objects"
    min_margin: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.refuse_no_synonyms("chair-rank")
        if not 0 <= self.min_margin <= 1:
            raise UsageError(f"builder.min_margin is {self.min_margin}; it must lie between 0 and 1.")


class _Worker(SamplingWorker):
    method = "chair-rank"

    def __init__(self, context: Context, settings: Settings) -> None:
        self.synonyms = settings.read_synonyms()
        super().__init__(context, settings)
        self.listed = ListedObjects(self.synonyms, self.counts)
        self.truth, self.min_margin = settings.truth, settings.min_margin

    def begin(self, block: Sequence[Example]) -> None:
        super().begin([example for example in block if self._says_objects(example)])

    def __call__(self, block: Sequence[Example]) -> list[Pair | Skip]:
        truths = [self._shown(example) for example in block]
        asked = [example for example, truth in zip(block, truths, strict=True) if truth]
        samples = iter(self.samples(asked) if asked else [])
        return self.pairs(
            [
                (example, self._pick(example, next(samples), truth) if truth else self._no_objects(example))
                for example, truth in zip(block, truths, strict=True)
            ]
        )

    def _no_objects(self, example: Example) -> Skip:
        return Skip(example.id, "no-objects") if self.truth == "answer" else self.listed.missing(example)

    def _says_objects(self, example: Example) -> bool:
        text = [example.answer] if self.truth == "answer" else example.objects or ()
        return any(map(self.synonyms.listed, text))

    def _shown(self, example: Example) -> set[str]:
        """What the images show, in the table's names; nothing where nobody says."""
        if self.truth == "answer":
            return set(self.synonyms.objects(example.answer))
        return set(self.listed(example))

    def _pick(self, example: Example, answers: Sequence[str], truth: Collection[str]) -> Pick | Skip:
        rated = []
        for answer in answers:
            if mentions := self.synonyms.objects(answer):
                wrong = sum(name not in truth for name in mentions) / len(mentions)
                rated.append(((-wrong, len(set(mentions).intersection(truth))), answer))
        if len(rated) < 2:
            return self.one_answer(example, "fewer than two different answers name an object")
        best, worst = (most(rated, key=lambda one: one[0]) for most in (max, min))
        margin = best[0][0] - worst[0][0]
        return Skip(example.id, "tie") if margin <= 0 or margin < self.min_margin else (best[1], worst[1], margin)


BUILDER = Builder(
    config=lambda: Settings,
    worker=_Worker,
    writes_chosen=True,
    model_settings=("similarity_model",),
    served=lambda _: "",
)
