"""SENTINEL: true against false next sentences of the model behind an answer without a fault (arXiv 2507.12455).

An answer grows sentence by sentence. Of each next sentence the model writes several; the objects that they name are
looked for by two detectors. An object is there if both find it, hallucinated if neither does, and else uncertain.
Chosen is a sentence whose objects are all there, rejected one with a hallucinated object, the context is the answer so
far: train on such pairs by `c-dpo`. Then a true sentence is appended, one with new objects if there is any, else one
with objects that the answer names already, else one that names none. As the authors' code has them: these rules, as
many pairs behind a context as true and false sentences allow, chosen sentences that name something of the context
(``coherent``), and the end where more than half of the sentences are none. Ours: objects are found in sentences by a
table of synonyms (theirs: also by a parser of scene graphs); the detectors are any two (theirs: YOLO11, which knows 80
objects and contradicts nobody about others, and Grounding DINO); and an answer ends where no clean sentence is left
(theirs goes on with any). Reasons for a skip: ``one-sided``, where no context had a sentence of both kinds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from mmpref.data.builder import Builder, Context, Outcome
from mmpref.data.builders._generated import PolicyWorker
from mmpref.data.builders._objects import ObjectSettings, find
from mmpref.data.builders._own import OwnPairsWorker, Pick, SampledSettings
from mmpref.errors import UsageError
from mmpref.recipes.names import names
from mmpref.rng import stream
from mmpref.sampling.settings import rows_of
from mmpref.types import Example, Message, Pair, Skip

if TYPE_CHECKING:
    from mmpref.vlm.encode import EncodedPrompt

Verdict = Literal["there", "hallucinated", "uncertain"]


@dataclass(frozen=True)
class Settings(SampledSettings, ObjectSettings):
    """Settings of SENTINEL; samples, temperature and coherent are the authors'.

    Args:
        samples: next sentences to draw behind each context.
        detectors: two, each an id or folder of a model of `AutoModelForZeroShotObjectDetection` or a plugin that
            detects.
        coherent: chosen sentences must name an object that the context has named, as the authors want it; the first
            sentence of an answer then gives no pair.
        max_sentences: of an answer, at most.
        max_sentence_tokens: bound on one of them.
        max_pairs: behind one context, at most; 0 takes all.
    """

    temperature: float | Literal["model"] = 0.7
    samples: int = 10
    detectors: tuple[str, ...] = field(
        default=("IDEA-Research/grounding-dino-base", "google/owlv2-base-patch16-ensemble"),
        metadata=names("annotator"),
    )
    coherent: bool = True
    max_sentences: int = 8
    max_sentence_tokens: int = 96
    max_pairs: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.refuse_no_synonyms("sentinel")
        if len(self.detectors) != 2:
            raise UsageError(f"builder.detectors are {len(self.detectors)}; two must agree.", "Name two.")
        for name, least in (("max_sentences", 1), ("max_sentence_tokens", 1), ("max_pairs", 0)):
            if getattr(self, name) < least:
                raise UsageError(f"builder.{name} is {getattr(self, name)}; it must be at least {least}.")


@dataclass
class _Growing:
    """An answer in the making.

    Args:
        answer: so far.
        verdicts: of the objects that were named.
        named: objects of the answer so far.
        pairs: context, chosen and rejected.
    """

    example: Example
    prompt: EncodedPrompt
    answer: str = ""
    ended: bool = False
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    named: set[str] = field(default_factory=set)
    pairs: list[tuple[str, str, str]] = field(default_factory=list)


class _Worker(OwnPairsWorker, PolicyWorker):
    method = "sentinel"

    def __init__(self, context: Context, settings: Settings) -> None:
        from mmpref.judges.detectors import open_detector

        super().__init__(context, settings)
        self.settings, self.width = settings, rows_of(settings.batch_size)
        self.decoding = settings.decoding(settings.max_sentence_tokens, self.seed)
        self.synonyms = settings.read_synonyms()
        self.detectors = [open_detector(name) for name in settings.detectors]

    def __call__(self, block: Sequence[Example]) -> Sequence[Outcome]:
        from mmpref.vlm.encode import encode

        prompts = encode(self.policy, [self.ahead(example) for example in block])
        answers = [_Growing(example, prompt) for example, prompt in zip(block, prompts, strict=True)]
        for number in range(self.settings.max_sentences):
            if going := [answer for answer in answers if not answer.ended]:
                self._say_next(going, number)
        return [self._made(answer) for answer in answers]

    def _say_next(self, answers: Sequence[_Growing], number: int) -> None:
        """Give each answer its next sentence, and keep what pairs there are."""
        from mmpref.sampling.resample import Draft, next_sentences

        s = self.settings
        drafts = [Draft(answer.example, answer.prompt, answer.answer) for answer in answers]
        written = next_sentences(self.policy, drafts, self.decoding, s.samples, width=self.width)
        sentences = [list(dict.fromkeys(one for one in of_answer if one)) for of_answer in written]
        objects = [{one: set(self.synonyms.objects(one)) for one in of_answer} for of_answer in sentences]
        self._look(answers, [set().union(*of_answer.values()) for of_answer in objects])
        for answer, of_answer, said in zip(answers, written, objects, strict=True):
            self.counts.add({"sentences": len(of_answer), "sentences_cut_off": of_answer.count(None)})
            self._keep_pairs(answer, said)
            self._append(answer, said, number)
            answer.ended |= sum(one == "" for one in of_answer) > len(of_answer) / 2

    def _look(self, answers: Sequence[_Growing], objects: Sequence[set[str]]) -> None:
        """Have both detectors look for objects that nobody has looked for yet."""
        new = [
            (answer.example, sorted(named - answer.verdicts.keys()))
            for answer, named in zip(answers, objects, strict=True)
        ]
        first, second = (find(detector, new) for detector in self.detectors)
        for answer, (_, looked_for), by_first, by_second in zip(answers, new, first, second, strict=True):
            for name in looked_for:
                seen = any(by_first[name]), any(by_second[name])
                verdict: Verdict = "uncertain" if seen[0] != seen[1] else "there" if seen[0] else "hallucinated"
                answer.verdicts[name] = verdict
                self.counts.add({"objects": 1, f"objects_{verdict}": 1})

    def _keep_pairs(self, answer: _Growing, said: Mapping[str, set[str]]) -> None:
        s = self.settings
        true = [one for one, named in said.items() if named and self._all_there(answer, named)]
        false = [one for one, named in said.items() if any(answer.verdicts[name] == "hallucinated" for name in named)]
        if s.coherent:
            true = [one for one in true if said[one] & answer.named]
        pairs = list(zip(true, false, strict=False))[: s.max_pairs or None]
        answer.pairs += [(answer.answer, chosen, rejected) for chosen, rejected in pairs]

    def _append(self, answer: _Growing, said: Mapping[str, set[str]], number: int) -> None:
        """Go on with a clean sentence, or end where there is none."""
        clean = [one for one, named in said.items() if self._all_there(answer, named)]
        new = [one for one in clean if said[one] and not said[one] & answer.named]
        known = [one for one in clean if said[one] & answer.named]
        if not (choice := new or known or clean):
            answer.ended = True
            return
        draw = stream(self.seed, answer.example.id, number, "context")
        sentence = choice[int(draw.integers(len(choice)))]
        answer.named |= said[sentence]
        answer.answer += sentence if answer.answer else sentence.lstrip()

    @staticmethod
    def _all_there(answer: _Growing, named: set[str]) -> bool:
        return all(answer.verdicts[name] == "there" for name in named)

    def _made(self, answer: _Growing) -> Skip | tuple[Pair, ...]:
        if not answer.pairs:
            return Skip(answer.example.id, "one-sided")
        picked: list[tuple[Example, Pick | Skip]] = []
        for number, (context, chosen, rejected) in enumerate(answer.pairs):
            example = replace(answer.example, id=f"{answer.example.id}#{number}")
            if context:
                example = replace(example, prompt=(*example.prompt, Message("assistant", context)))
            else:
                chosen, rejected = chosen.lstrip(), rejected.lstrip()
            picked.append((example, (chosen, rejected, None)))
        return tuple(pair for pair in self.pairs(picked) if isinstance(pair, Pair))


BUILDER = Builder(config=lambda: Settings, worker=_Worker, writes_chosen=True, model_settings=("similarity_model",))
