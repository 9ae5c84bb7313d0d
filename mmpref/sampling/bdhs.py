"""Bias-Driven Hallucination Sampling: rejected answers out of the model's own language bias (PAPER 2, algorithm 1).

Every sentence of the reference answer is cut at a random token; the model, with (nearly) all image tokens hidden,
writes a new tail. Sentences are independent of each other, because the context is always the reference's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from mmpref.images import decode as decode_image
from mmpref.rng import stream
from mmpref.sampling.sentences import ends_sentence, may_go_on, split
from mmpref.sampling.similarity import Similarity
from mmpref.types import Example
from mmpref.vlm.decode import Branch, Decoding, decode
from mmpref.vlm.vision import Context, embed_prompt

if TYPE_CHECKING:
    from PIL import Image

    from mmpref.vlm.policy import Policy

_YES_NO = re.compile(r"(\s*)(Yes|yes|No|no)\b")
_COUNTERPART = {"Yes": "No", "No": "Yes", "yes": "no", "no": "yes"}


@dataclass(frozen=True)
class BdhsSettings:
    """Parameters of algorithm 1, with the paper's values.

    Args:
        rho_th: an image token is kept where u >= rho_th, u ~ U(0, 1), drawn anew for every try; 0 keeps all, 1 none.
        iterations: N_BDHS, tries a pair. With more than one, the last try is unguided and always taken.
        guidance: continue the reference's sentences; without it every try writes a whole answer.
        noise_steps: the noise variant: show the image after so many of 1000 diffusion steps instead of masking.
        positions: ``original`` keeps the positions of what is left (masking, exactly); ``compact`` renumbers.
        similarity_threshold: eps_s, a try is taken where the cosine of both answers is below it.
        similarity_model: a sentence-transformers model.
        max_tail_tokens: bound on one sentence's tail.
        max_answer_tokens: bound on an unguided answer.
        greedy, temperature, top_p, top_k: sampling; None takes the model's generation_config, else 1 and off.
        batch_size: branches decoded together.
    """

    rho_th: float = 0.99
    iterations: int = 5
    guidance: bool = True
    noise_steps: int | None = None
    positions: Literal["original", "compact"] = "original"
    similarity_threshold: float = 0.97
    similarity_model: str = "sentence-transformers/all-mpnet-base-v2"
    max_tail_tokens: int = 96
    max_answer_tokens: int = 512
    greedy: bool = False
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    batch_size: int = 64


@dataclass(frozen=True)
class Rejected:
    """What BDHS made of one example: the answer, its cosine with the reference, and the tries it took (from 1)."""

    answer: str
    similarity: float
    iterations: int


@dataclass(frozen=True)
class _Cut:
    """One sentence to continue: what it keeps, and the tokens before the tail."""

    head: str
    prefix: tuple[int, ...]
    fresh: bool  # the tail begins the sentence, so the white space before it belongs to the sentence before


class BdhsSampler:
    """Draws rejected answers from a policy; the same object serves datasets and training.

    A result depends on (seed, example id, try, sentence) and on the examples that it is drawn together with only
    through the last bits of floating-point sums.
    """

    def __init__(self, policy: Policy, similarity: Similarity, settings: BdhsSettings, seed: int) -> None:
        self.policy = policy
        self.similarity = similarity
        self.settings = settings
        self.seed = seed

    def __call__(self, examples: Sequence[Example]) -> list[Rejected]:
        """One rejected answer for each example, whose answers must not be empty."""
        results: list[Rejected | None] = [None] * len(examples)
        images = [tuple(decode_image(image) for image in example.images) for example in examples]
        clean = self.settings.noise_steps is None
        contexts = [
            embed_prompt(self.policy, example.prompt, image) if clean else None
            for example, image in zip(examples, images, strict=True)
        ]
        last = self.settings.iterations
        for attempt in range(1, last + 1):
            pending = [index for index, result in enumerate(results) if result is None]
            if not pending:
                break
            unguided = not self.settings.guidance or (attempt == last and last > 1)
            seen = [self._see(examples[i], images[i], contexts[i], attempt) for i in pending]
            draw = self._whole_answers if unguided else self._new_tails
            answers = draw([examples[i] for i in pending], seen, attempt)
            cosines = self.similarity(answers, [examples[i].answer for i in pending])
            for index, answer, cosine in zip(pending, answers, cosines, strict=True):
                if cosine < self.settings.similarity_threshold or attempt == last:
                    results[index] = Rejected(answer, cosine, attempt)
        return [result for result in results if result is not None]

    def _see(self, example: Example, images: Sequence[Image.Image], context: Context | None, attempt: int) -> Context:
        """What the model gets to see of the image in this try: few of its tokens, or all of a noisy one."""
        if context is None:
            noise = stream(self.seed, example.id, attempt, "noise")
            return embed_prompt(self.policy, example.prompt, images, (self.settings.noise_steps or 0, noise))
        draws = stream(self.seed, example.id, attempt, "mask").random(context.image_tokens)
        return context.drop(torch.from_numpy(draws >= self.settings.rho_th), self.settings.positions)

    def _decoding(self, max_new_tokens: int) -> Decoding:
        s = self.settings
        return Decoding(max_new_tokens, s.greedy, s.temperature, s.top_p, s.top_k, seed=self.seed)

    def _whole_answers(self, examples: Sequence[Example], seen: Sequence[Context], attempt: int) -> list[str]:
        branches = [
            Branch(context, (), (example.id, attempt, "answer"))
            for example, context in zip(examples, seen, strict=True)
        ]
        tokens = decode(
            self.policy, branches, self._decoding(self.settings.max_answer_tokens), batch_size=self.settings.batch_size
        )
        return [self.policy.tokenizer.decode(ids, skip_special_tokens=True).strip() for ids in tokens]

    def _new_tails(self, examples: Sequence[Example], seen: Sequence[Context], attempt: int) -> list[str]:
        sentences = [split(example.answer) for example in examples]
        cuts = [
            [self._cut(example, parts, number, attempt) for number in range(len(parts))]
            for example, parts in zip(examples, sentences, strict=True)
        ]
        branches = [
            Branch(context, cut.prefix, (example.id, attempt, number), _Tail(self.policy, cut))
            for example, context, row in zip(examples, seen, cuts, strict=True)
            for number, cut in enumerate(row)
        ]
        tokens = decode(
            self.policy, branches, self._decoding(self.settings.max_tail_tokens), batch_size=self.settings.batch_size
        )
        tails = iter(tokens)
        return [
            "".join(
                _join(sentence, cut, tail_text(self.policy, cut.prefix, next(tails)))
                for sentence, cut in zip(parts, row, strict=True)
            )
            for parts, row in zip(sentences, cuts, strict=True)
        ]

    def _cut(self, example: Example, sentences: Sequence[str], number: int, attempt: int) -> _Cut:
        """Swap a leading yes or no with probability 1/2, then cut at a uniformly random token of the sentence.

        A swapped word is never cut off again: the cut then falls behind it.
        """
        draws = stream(self.seed, example.id, attempt, number, "cut")
        before, sentence = "".join(sentences[:number]), sentences[number]
        kept = 0
        swap = draws.random() >= 0.5
        if (match := _YES_NO.match(sentence)) and swap:
            sentence = match[1] + _COUNTERPART[match[2]] + sentence[match.end() :]
            kept = match.end(1) + len(_COUNTERPART[match[2]])
        answer = before + sentence + "".join(sentences[number + 1 :])
        written = self.policy.render_answer(example.prompt, len(example.images), answer)
        begin = written.index(answer) + len(before)
        encoded = self.policy.tokenizer(written, add_special_tokens=False, return_offsets_mapping=True)
        ids, spans = encoded["input_ids"], encoded["offset_mapping"]
        core = begin + len(sentence.rstrip())
        places = [i for i, (start, end) in enumerate(spans) if begin + kept <= start < core and end > start]
        if not places:  # nothing is left behind a swapped word
            first_behind = next((i for i, (start, _) in enumerate(spans) if start >= core), len(ids))
            return _Cut(sentence.rstrip(), tuple(ids[:first_behind]), False)
        place = places[int(draws.integers(len(places)))]
        head_end = spans[place - 1][1] if place else begin
        fresh = head_end <= begin
        head = "" if fresh else written[begin:head_end]
        return _Cut(head, tuple(ids[:place]), fresh)


class _Tail:
    """Stop rule: a tail ends once the sentence ends in a full stop that closes it (PAPER 2, step 4c)."""

    def __init__(self, policy: Policy, cut: _Cut) -> None:
        self.policy = policy
        self.cut = cut
        self.undecided = False

    def __call__(self, tokens: list[int]) -> int | None:
        text = self._text(tokens)
        if self.undecided:
            self.undecided = False
            before = self._text(tokens[:-1])
            if text[len(before) : len(before) + 1].isspace() and ends_sentence(before):
                return len(tokens) - 1
        if not text.endswith((".", "。")):
            return None
        if may_go_on(text):
            self.undecided = True
            return None
        return len(tokens) if ends_sentence(text) else None

    def _text(self, tokens: list[int]) -> str:
        return self.cut.head + tail_text(self.policy, self.cut.prefix, tokens)


def tail_text(policy: Policy, prefix: Sequence[int], tail: Sequence[int]) -> str:
    """The text that tokens add to a prefix; decoded together, as tokenizers keep spaces at the seam only then."""
    # A few tokens of context are enough for the seam, and keep this linear in the tail.
    near = list(prefix[-8:])
    whole: str = policy.tokenizer.decode([*near, *tail], skip_special_tokens=True, clean_up_tokenization_spaces=False)
    known: str = policy.tokenizer.decode(near, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return whole[len(known) :]


def _join(sentence: str, cut: _Cut, tail: str) -> str:
    """Head and tail as a sentence, with the white space that the original had around it."""
    trailing = sentence[len(sentence.rstrip()) :]
    body = cut.head + tail.rstrip()
    if cut.fresh:
        leading = sentence[: len(sentence) - len(sentence.lstrip())]
        body = leading + body.lstrip()
    return body + trailing
