"""What the model still says of an object that is hidden from it, against what it says beside (after HII-DPO).

Of HII-DPO (arXiv 2602.10425) is the idea: an object that a detector finds is taken out of the image, and where the
model names it all the same, out of what is usual in such a place, the sentence is a hallucination. As in BDHS only
image tokens are hidden while the model writes, here those of the object's boxes. A pair is of the image without the
object, whose boxes are painted over, since training cannot hide tokens; it continues the answer so far (`c-dpo`):
rejected is the first sentence that names the object, chosen another next sentence in the same place whose objects are
all found, are others, and are not painted over with it by half or more. Ours are all rules of this file but the idea.

Objects to hide are those of the row's list (``objects``, ``gt_object``), or that the source's answer names; one a row,
drawn by the seed among those that are found and not large. Reasons for a skip: ``no-objects`` (none is found, or that
which is drawn is too small to hide), ``not-said`` (the model names the object no more, or only behind other faults),
``one-sided`` (no other sentence is without a fault).
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from mmpref.data.builder import Builder, Context
from mmpref.data.builders._generated import PolicyWorker
from mmpref.data.builders._objects import ListedObjects, ObjectSettings, find
from mmpref.data.builders._own import OwnPairsWorker, Pick, SampledSettings, whole_samples
from mmpref.errors import UsageError
from mmpref.images import decode
from mmpref.recipes.names import names
from mmpref.rng import stream
from mmpref.sampling.settings import rows_of
from mmpref.types import Box, Example, ImageData, Message, Pair, Skip

if TYPE_CHECKING:
    from PIL import Image

    from mmpref.vlm.encode import EncodedPrompt


@dataclass(frozen=True)
class Settings(SampledSettings, ObjectSettings):
    """Settings of hiding one object.

    Args:
        samples: answers about the image without the object, and other sentences to draw in the rejected one's place.
        detector: id or folder of a model of `AutoModelForZeroShotObjectDetection`, or a plugin that detects.
        hide: what is hidden while the model writes: ``tokens`` of the object's boxes, or their ``pixels``, as in the
            pair's image, which any family allows.
        covered: share of a token's place that the boxes must cover for it to be hidden.
        max_area: share of the image that an object's boxes may have.
        max_sentence_tokens: bound on a sentence.
    """

    detector: str = field(default="IDEA-Research/grounding-dino-base", metadata=names("annotator"))
    hide: Literal["tokens", "pixels"] = "tokens"
    covered: float = 0.25
    max_area: float = 0.5
    max_sentence_tokens: int = 96

    def __post_init__(self) -> None:
        super().__post_init__()
        self.refuse_no_synonyms("hide-object")
        for name in ("covered", "max_area"):
            if not 0 < getattr(self, name) <= 1:
                raise UsageError(f"builder.{name} is {getattr(self, name)}; it must be above 0, at most 1.")
        if self.max_sentence_tokens < 1:
            raise UsageError(f"builder.max_sentence_tokens is {self.max_sentence_tokens}; it must be at least 1.")


@dataclass
class _Hidden:
    """An example without one of its objects.

    Args:
        example: its image is painted over.
        whole: as it was.
        boxes: of the object.
        prompt: without the object, encoded.
        context, rejected: an answer's beginning, and the sentence behind it that names the object.
    """

    example: Example
    whole: Example
    name: str
    boxes: Sequence[Box]
    prompt: EncodedPrompt
    context: str = ""
    rejected: str = ""


class _Worker(OwnPairsWorker, PolicyWorker):
    method = "hide-object"

    def __init__(self, context: Context, settings: Settings) -> None:
        from mmpref.judges.detectors import open_detector

        super().__init__(context, settings)
        self.settings, self.width = settings, rows_of(settings.batch_size)
        self.decoding = settings.decoding(settings.max_answer_tokens, self.seed)
        self.synonyms = settings.read_synonyms()
        self.listed = ListedObjects(self.synonyms, self.counts)
        self.detector = open_detector(settings.detector)

    def begin(self, block: Sequence[Example]) -> None:
        """Nothing: which images are preprocessed the detector says, when the block's turn has come."""

    def __call__(self, block: Sequence[Example]) -> list[Pair | Skip]:
        hidden = self._without_objects(block)
        ready = [one for one in hidden if isinstance(one, _Hidden)]
        self._say(ready)
        said = [one for one in ready if one.rejected]
        chosen = dict(zip(map(id, said), self._other_sentences(said), strict=True))
        return self.pairs(
            [
                self._pick(one, chosen.get(id(one))) if isinstance(one, _Hidden) else (example, one)
                for example, one in zip(block, hidden, strict=True)
            ]
        )

    def _without_objects(self, block: Sequence[Example]) -> list[_Hidden | Skip]:
        """Each example without one object, or why there is none."""
        wanted = [(example, self._names(example) if len(example.images) == 1 else []) for example in block]
        picked: list[tuple[Example, str, Sequence[Box]] | Skip] = []
        for (example, looked_for), found in zip(wanted, find(self.detector, wanted), strict=True):
            boxes = {name: found[name][0] for name in looked_for if found[name][0]}
            small = [name for name in boxes if sum(map(_area, boxes[name])) <= self.settings.max_area]
            if not small:
                picked.append(Skip(example.id, "no-objects", "none that is found alone in one image"))
                continue
            name = small[int(stream(self.seed, example.id, "object").integers(len(small)))]
            picked.append((example, name, boxes[name]))
        if self.settings.hide == "tokens":
            self.ahead.begin([one[0] for one in picked if not isinstance(one, Skip)])
        return [one if isinstance(one, Skip) else self._hide(*one) for one in picked]

    def _names(self, example: Example) -> list[str]:
        return self.listed(example) if example.objects else sorted({*self.synonyms.objects(example.answer)})

    def _hide(self, example: Example, name: str, boxes: Sequence[Box]) -> _Hidden | Skip:
        from mmpref.vlm.encode import encode
        from mmpref.vlm.token_places import coverage

        picture, inputs = decode(example.images[0]), self.ahead(example) if self.settings.hide == "tokens" else None
        size, image = picture.size, _painted(example.images[0], picture, boxes)
        too_small = Skip(example.id, "no-objects", f"{name!r} is too small to hide")
        if image is None:
            return too_small
        painted = replace(example, images=(image,), made_from=example.images)
        [prompt] = encode(self.policy, [self.policy.prompter(painted) if inputs is None else inputs])
        if inputs is not None:
            covered = coverage(self.policy, example.prompt, size, boxes) >= self.settings.covered
            if not covered.any():
                return too_small
            self.counts.add({"tokens_hidden": int(covered.sum()), "image_tokens": len(covered)})
            prompt = prompt.drop(~covered, "original")
        return _Hidden(painted, example, name, boxes, prompt)

    def _say(self, hidden: Sequence[_Hidden]) -> None:
        """Find in answers about what is left the first sentence that names the hidden object, behind no fault."""
        from mmpref.sampling.sentences import split

        if not hidden:
            return
        prompts, ids = [one.prompt for one in hidden], [one.example.id for one in hidden]
        samples = whole_samples(self, prompts, ids, self.decoding, self.settings.samples, self.width)
        found: list[list[tuple[str, str]]] = []
        for one, answers in zip(hidden, samples, strict=True):
            found.append([])
            for answer in answers:
                before = ""
                for sentence in split(answer):
                    if one.name in self.synonyms.objects(sentence):
                        found[-1].append((before, sentence))
                        break
                    before += sentence
        clean = self._clean(hidden, [[before for before, _ in of_one] for of_one in found])
        for one, of_one, are_clean in zip(hidden, found, clean, strict=True):
            choice = [place for place, is_clean in zip(of_one, are_clean, strict=True) if is_clean]
            if choice:
                before, sentence = choice[0]
                one.context = before.rstrip()
                one.rejected = before[len(one.context) :] + sentence.rstrip()

    def _other_sentences(self, hidden: Sequence[_Hidden]) -> list[str | None]:
        """A sentence without a fault in the place of each rejected one; None where the model says none."""
        from mmpref.sampling.resample import Draft, next_sentences

        decoding = replace(self.decoding, max_new_tokens=self.settings.max_sentence_tokens)
        drafts = [Draft(one.example, one.prompt, one.context) for one in hidden]
        written = next_sentences(self.policy, drafts, decoding, self.settings.samples, width=self.width)
        forms = [[form for form in dict.fromkeys(of_one) if form and self.synonyms.objects(form)] for of_one in written]
        clean = self._clean(hidden, forms)
        return [
            next((form for form, is_clean in zip(of_one, are_clean, strict=True) if is_clean), None)
            for of_one, are_clean in zip(forms, clean, strict=True)
        ]

    def _clean(self, hidden: Sequence[_Hidden], texts: Sequence[Sequence[str]]) -> list[list[bool]]:
        """Whether all objects that each text names are in the image, not painted over, and none is the hidden one."""
        named = [[set(self.synonyms.objects(text)) for text in of_one] for of_one in texts]
        wanted = [
            (one.whole, sorted(set().union(*of_one) - {one.name})) for one, of_one in zip(hidden, named, strict=True)
        ]
        return [
            [
                all(name in found and any(_is_left(box, one.boxes) for box in found[name][0]) for name in objects)
                for objects in of_one
            ]
            for one, of_one, found in zip(hidden, named, find(self.detector, wanted), strict=True)
        ]

    def _pick(self, one: _Hidden, chosen: str | None) -> tuple[Example, Pick | Skip]:
        """The example, whose prompt ends in the context, with its two sentences, or why there is no pair."""
        example = one.example
        if not one.rejected:
            return example, Skip(example.id, "not-said", f"the hidden object is {one.name!r}")
        if chosen is None:
            return example, Skip(example.id, "one-sided")
        if not one.context:
            return example, (chosen.lstrip(), one.rejected.lstrip(), None)
        continued = replace(example, prompt=(*example.prompt, Message("assistant", one.context)))
        return continued, (chosen, one.rejected, None)


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _is_left(box: Box, painted: Sequence[Box]) -> bool:
    """Whether less than half of a box is painted over."""
    shared = [(max(box[0], p[0]), max(box[1], p[1]), min(box[2], p[2]), min(box[3], p[3])) for p in painted]
    return 2 * sum(_area(one) for one in shared if one[0] < one[2] and one[1] < one[3]) < _area(box)


def _painted(image: ImageData, picture: Image.Image, boxes: Sequence[Box]) -> ImageData | None:
    """The image as PNG, with its boxes in its mean colour; None where they are smaller than a pixel.

    Args:
        picture: the image, decoded; it is painted on.
    """
    from PIL import ImageDraw, ImageStat

    painted, draw = False, ImageDraw.Draw(picture)
    colour = tuple(round(value) for value in ImageStat.Stat(picture).mean)
    for left, top, right, bottom in boxes:
        width, height = picture.size
        corners = (int(left * width), int(top * height), round(right * width) - 1, round(bottom * height) - 1)
        if corners[2] >= corners[0] and corners[3] >= corners[1]:
            draw.rectangle(corners, colour)
            painted = True
    if not painted:
        return None
    content = io.BytesIO()
    picture.save(content, "PNG")
    return ImageData(content.getvalue(), image.name)


BUILDER = Builder(
    config=lambda: Settings,
    worker=_Worker,
    writes_chosen=True,
    paints=True,
    model_settings=("similarity_model",),
)
