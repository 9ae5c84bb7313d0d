"""What the testbed's oracle replies where a benchmark's prompt asks for a rating or a list: it reads the prompt.

It understands the prompts of `mmhal`, `llava-wild`, `mmvet` and `object-halbench`: by their sections, their scale and
their form of reply.
"""

from __future__ import annotations

import json
import re

from mmpref.testbed import oracle
from mmpref.testbed.language import NUMBERS
from mmpref.testbed.things import KINDS, THINGS
from mmpref.testbed.world import ROWS, Scene, Thing

WORDS: tuple[tuple[str, ...], ...] = (THINGS, ROWS, NUMBERS, tuple(KINDS), ("yes", "no"))
"""What short answers are made of, by kind: what is asked for decides which one counts."""
_NAMED = re.compile(rf"\b{oracle.one_of(tuple(word for words in WORDS for word in words))}\b", re.I)


def kind_of(word: str) -> tuple[str, ...]:
    """The kind of word that one of `WORDS` is."""
    return next(words for words in WORDS if word.lower() in words)


def named(text: str) -> set[str]:
    """The words of `WORDS` that a text has, in lower case; names of two words whole."""
    return {word.lower() for word in _NAMED.findall(text)}


def reply(prompt: str) -> str:
    """The reply to a judge's prompt.

    Raises:
        ValueError: it has the form of none of them.
    """
    if "### LMM Response to Evaluate" in prompt:
        *_, question, reference, answer = re.split(r"^### .*$", prompt, flags=re.M)
        false, true, all_ = _judged(question, reference, answer)
        level = 2 if true == all_ else 1 if true else 0
        return f"False: {false}, true: {true} of {all_}.\nRating: {level if false else 3 + level}"
    if "[Assistant 2]" in prompt:
        question, first, second = (_between(prompt, name) for name in ("Question", "Assistant 1", "Assistant 2"))
        scores = []
        for answer in (first, second):
            false, true, all_ = _judged(question, first, answer)
            scores.append(max(1, round(1 + 9 * true / max(all_, 1)) - 4 * false))
        return f"{scores[0]} {scores[1]}\nBy the truth."
    if "[End of Examiner's Answer]" in prompt:
        mentioned = oracle.mentions(_between(prompt, "Start of Examiner's Answer"))
        return f"```json\n{json.dumps(mentioned)}\n```"
    if prompt.count(" | ") >= 3:
        _, reference, answer = prompt.splitlines()[-1].removesuffix(" | ").split(" | ")[:3]
        parts = [part.strip().lower() for part in reference.split("<AND>")]
        return f"{sum(part in named(answer) for part in parts) / len(parts):.1f}"
    raise ValueError("The testbed's oracle does not understand this prompt.")


def _between(prompt: str, name: str) -> str:
    return prompt.partition(f"[{name}]")[2].partition("\n[")[0].strip()


def _judged(question: str, reference: str, answer: str) -> tuple[int, int, int]:
    """(false statements, true ones, true ones in the reference)."""
    if oracle.is_caption(reference.strip()):
        truth = _described(reference)
        verdict = oracle.judge(answer, truth)
        true = set(verdict.mentioned) - set(verdict.hallucinated)
        return len(verdict.false_claims) + len(verdict.hallucinated), len(true), len(truth.things)
    key = named(reference) - named(question)
    key = (key & {"yes", "no"}) or key
    kinds = {kind_of(word) for word in key}
    answered = {word for word in named(answer) if kind_of(word) in kinds}
    return len(answered - key - named(question)), int(bool(answered & key)), 1


def _described(reference: str) -> Scene:
    """The scene that a description is of, as far as it says."""
    claims = oracle.claims(reference)
    things = tuple(Thing(claim.what, claim.row, "") for claim in claims if claim.row)
    kind = next((claim.what for claim in claims if claim.what in KINDS), "")
    return Scene("", 0, kind, things, (), ())
