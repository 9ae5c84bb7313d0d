"""Sentences of an answer written again, or the next one: what the policy would say in a place of an answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmpref.sampling.sentences import sentences
from mmpref.sampling.tails import Cut, TailDecoder, TailStop, TokenizedAnswer, is_cut_off, joined
from mmpref.types import Example
from mmpref.vlm.branches import Branch
from mmpref.vlm.decoding import Decoding
from mmpref.vlm.encode import EncodedPrompt
from mmpref.vlm.generate import decode

if TYPE_CHECKING:
    from mmpref.vlm.policy import Policy


@dataclass(frozen=True)
class Draft:
    """An answer whose sentences are to be written again, or that is to be continued.

    Args:
        prompt: the example's prompt and images, encoded.
        answer: not empty, where its sentences are written again.
    """

    example: Example
    prompt: EncodedPrompt
    answer: str


def resample_sentences(
    policy: Policy, drafts: Sequence[Draft], decoding: Decoding, samples: int, *, width: int = 64
) -> list[list[list[str]]]:
    """Of each answer, for each sentence, the different forms in which it was written: first its own, then the others.

    A form is drawn behind all that stands before the sentence in the answer, with the whole image in sight, by a random
    stream of its own. One that the bound on its length cut off, or that says nothing, is left out. Forms keep the white
    space around the sentence, so that any choice of one a sentence joins to an answer.

    Args:
        decoding: its ``max_new_tokens`` bounds a sentence.
        samples: forms to draw for each sentence.
        width: branches decoded together.
    """
    decode_tail, branches = TailDecoder(policy.tokenizer), list[Branch]()
    forms: list[list[list[str]]] = []
    cuts = []
    for draft in drafts:
        example, before = draft.example, ""
        answer = TokenizedAnswer(*policy.written_answer(example.prompt, len(example.images), draft.answer))
        forms.append([])
        for number, sentence in enumerate(sentences(draft.answer)):
            forms[-1].append([sentence.body + sentence.trailing])
            begin = answer.begin + len(before)
            before += sentence.body + sentence.trailing
            if not (places := answer.cut_places(begin, begin + len(sentence.body))):
                continue  # it shares its first token with the sentence before
            cut = answer.cut(places[0], begin)
            for sample in range(samples):
                stop, stream = TailStop(decode_tail, cut), (example.id, number, sample, "sentence")
                branches.append(Branch(draft.prompt, cut.prefix, stream, stop))
                cuts.append((cut, sentence, forms[-1][-1]))
    tails = decode(policy, branches, decoding, width=width) if branches else []
    for tail, (cut, sentence, known) in zip(tails, cuts, strict=True):
        written = decode_tail(cut, tail)
        form = joined(written, cut, sentence)
        if form and form not in known and not is_cut_off(written, len(tail), decoding.max_new_tokens):
            known.append(form)
    return forms


def next_sentences(
    policy: Policy, drafts: Sequence[Draft], decoding: Decoding, samples: int, *, width: int = 64
) -> list[list[str | None]]:
    """Of each answer so far, what the policy would say next, several times: a sentence with the white space before it,
    nothing where the policy ends the answer, None where the bound on its length cut it off.

    Args:
        drafts: answers that end with a sentence, without white space behind it, or are empty.
        decoding: its ``max_new_tokens`` bounds a sentence.
        samples: sentences to draw for each answer, by random streams that the answer's length names.
        width: branches decoded together.
    """
    decode_tail, branches = TailDecoder(policy.tokenizer), list[Branch]()
    cuts = []
    for draft in drafts:
        cut, said = _cut_behind(policy, draft), len(draft.answer)
        for sample in range(samples):
            stop, stream = TailStop(decode_tail, cut), (draft.example.id, said, sample, "next")
            branches.append(Branch(draft.prompt, cut.prefix, stream, stop))
            cuts.append(cut)
    written: list[str | None] = []
    for tail, cut in zip(decode(policy, branches, decoding, width=width) if branches else [], cuts, strict=True):
        text = decode_tail(cut, tail)
        parts = sentences(text)
        cut_off = is_cut_off(text, len(tail), decoding.max_new_tokens)
        written.append(None if cut_off else parts[0].body.rstrip() if parts else "")
    return [written[start : start + samples] for start in range(0, len(written), samples)]


def _cut_behind(policy: Policy, draft: Draft) -> Cut:
    """The place behind an answer so far."""
    if not draft.answer:
        return Cut("", (), (), fresh=True)
    example = draft.example
    answer = TokenizedAnswer(*policy.written_answer(example.prompt, len(example.images), draft.answer))
    end = answer.begin + len(draft.answer)
    return answer.cut(sum(stop <= end for _, stop in answer.spans), end)
