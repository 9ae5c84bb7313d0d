"""What the methods share that have the claims of answers checked: who splits an answer, who checks, and the counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mmpref.counts import Counts
from mmpref.data.builder import Context
from mmpref.data.builders._annotated import AnnotatorSettings, chat_settings
from mmpref.judges.annotator import require_placeholders
from mmpref.recipes.names import names
from mmpref.types import Example, Message

if TYPE_CHECKING:
    Splitter = Callable[[Sequence[tuple[tuple[Message, ...], str]]], list[list[str] | None]]

SENTENCES = "sentences"


@dataclass(frozen=True)
class CheckedSettings(AnnotatorSettings):
    """How claims are checked; an instruction needs ``{claim}`` and must be answered by yes or no."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_placeholders(self.instruction, "claim")


@dataclass(frozen=True)
class SplitSettings(CheckedSettings):
    """How an answer is split into claims, and these are checked.

    Args:
        splitter: ``sentences``, or who lists the facts of an answer: URL#MODEL, a local model, or ``policy``.
    """

    splitter: str = field(default=SENTENCES, metadata=names("annotator", unless=SENTENCES))


class ClaimChecker:
    """Asks the annotator whether claims are true.

    Args:
        counts: where ``claims``, ``accepted``, ``rejected`` and ``missing`` are added, and what asking took.
    """

    def __init__(self, context: Context, settings: CheckedSettings, counts: Counts) -> None:
        from mmpref.judges.claims import CHECK_TOKENS, open_checker

        assert context.annotator is not None
        self._counts = counts
        self._checker = open_checker(
            context.asked(context.annotator),
            chat_settings(context, settings, CHECK_TOKENS),
            instruction=settings.instruction,
            policy=context.policy,
        )

    def __call__(self, claims: Sequence[tuple[Example, str]]) -> list[float | None]:
        """p(true) of each claim about an example's images; None where there is no verdict."""
        from mmpref.judges.claims import Claim

        findings = self._checker.check([Claim(example.images, text) for example, text in claims]) if claims else []
        for finding in findings:
            true = finding.probability
            counted = "missing" if true is None else "rejected" if true < 0.5 else "accepted"
            self._counts.add({"claims": 1, counted: 1, **finding.usage})
        return [finding.probability for finding in findings]


class AnswerChecker:
    """Splits answers into claims and has each checked."""

    def __init__(self, context: Context, settings: SplitSettings, counts: Counts) -> None:
        self._counts = counts
        self._check = ClaimChecker(context, settings, counts)
        self._split = self._splitter(context, settings)

    def __call__(self, answers: Sequence[tuple[Example, str]]) -> list[list[float] | None]:
        """p(true) of every claim of each answer; None where one of them, or what the claims are, is missing."""
        split = self._split([(example.prompt, answer) for example, answer in answers])
        truths = iter(
            self._check(
                [
                    (example, claim)
                    for (example, _), claims in zip(answers, split, strict=True)
                    for claim in claims or ()
                ]
            )
        )
        checked: list[list[float] | None] = []
        for claims in split:
            found = [next(truths) for _ in claims or ()]
            known = [true for true in found if true is not None]
            checked.append(known if claims is not None and len(known) == len(found) else None)
        return checked

    def _splitter(self, context: Context, settings: SplitSettings) -> Splitter:
        if settings.splitter == SENTENCES:
            return _sentences
        from mmpref.judges.chat import count_usage
        from mmpref.judges.claims import ChatSplitter
        from mmpref.judges.resolve import open_chat

        who = context.asked(settings.splitter)
        listing = ChatSplitter(open_chat(who, chat_settings(context, settings, 1024), context.policy))

        def split(answers: Sequence[tuple[tuple[Message, ...], str]]) -> list[list[str] | None]:
            replies = listing(answers)
            self._counts.add(count_usage(reply for _, reply in replies))
            return [facts for facts, _ in replies]

        return split


def _sentences(answers: Sequence[tuple[tuple[Message, ...], str]]) -> list[list[str] | None]:
    from mmpref.sampling.sentences import split

    return [[sentence.strip() for sentence in split(answer)] for _, answer in answers]
