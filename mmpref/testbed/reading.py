"""What the testbed's oracle replies where a benchmark's prompt asks for a rating or a list: it reads the prompt.

It understands the prompts of `mmhal`, `llava-wild`, `mmvet` and `object-halbench`: by their sections, their scale and
their form of reply.
"""

from __future__ import annotations

import json
import re

from mmpref.testbed import oracle
from mmpref.testbed.world import COLOURS, PLACES, SHAPES, Scene

_KINDS = (COLOURS, SHAPES, PLACES, ("yes", "no"))
_WORDS = re.compile(rf"\b({'|'.join(word for kind in _KINDS for word in kind)})\b", re.I)


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
        mentioned = oracle.judge(_between(prompt, "Start of Examiner's Answer"), Scene("", 0, (), 0.0)).mentioned
        return f"```json\n{json.dumps(mentioned)}\n```"
    if prompt.count(" | ") >= 3:
        _, reference, answer = prompt.splitlines()[-1].removesuffix(" | ").split(" | ")[:3]
        parts = [part.strip().lower() for part in reference.split("<AND>")]
        return f"{sum(part in answer.lower() for part in parts) / len(parts):.1f}"
    raise ValueError("The testbed's oracle does not understand this prompt.")


def _between(prompt: str, name: str) -> str:
    return prompt.partition(f"[{name}]")[2].partition("\n[")[0].strip()


def _judged(question: str, reference: str, answer: str) -> tuple[int, int, int]:
    """(false statements, true ones, true ones in the reference)."""
    truth = oracle.judge(reference, Scene("", 0, (), 0.0)).false_claims
    if truth:
        judgement = oracle.judge(answer, Scene("", 0, truth, 0.0))
        named = set(judgement.mentioned) - set(judgement.hallucinated)
        return len(judgement.false_claims) + len(judgement.hallucinated), len(named), len(truth)
    key = _named(reference) - _named(question)
    key = (key & {"yes", "no"}) or key
    kinds = [kind for kind in _KINDS if key.intersection(kind)]
    answered = {word for word in _named(answer) if any(word in kind for kind in kinds)}
    return len(answered - key - _named(question)), int(bool(answered & key)), 1


def _named(text: str) -> set[str]:
    return {word.lower() for word in _WORDS.findall(text)}
