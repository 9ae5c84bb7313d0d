"""Online pairs: two samples of the current policy, told apart by an annotator (the paper's online-DPO, section 4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mmpref.align.loss_settings import PairwiseSettings
from mmpref.align.pair_source import Row, SampledPairs, SourceContext
from mmpref.errors import UsageError
from mmpref.judges.annotator import require_placeholders
from mmpref.recipes.schema import OPTIONAL
from mmpref.sampling.settings import SamplingSettings
from mmpref.types import assistant_message

if TYPE_CHECKING:
    from mmpref.align.served_policy import FollowingWriter
    from mmpref.vlm.writer import Writer


@dataclass(frozen=True)
class RankedSettings(SamplingSettings, PairwiseSettings):
    """How answers are sampled from the current policy.

    Args:
        max_answer_tokens: bound on an answer's length; one that reaches it is not used.
        sampling_batch_size: answers decoded together.
        instruction: a template of your own for the annotator, with ``{prompt}``, ``{first}`` and ``{second}``.
        server: ``URL#MODEL`` of a vLLM server that writes the answers, with the policy's weights, which are sent there
            before every step (`mmpref.align.served_policy`); without one the model writes them itself.
    """

    max_answer_tokens: int = 512
    sampling_batch_size: int = 64
    instruction: str | None = None
    server: str | None = field(default=None, metadata=OPTIONAL)

    def __post_init__(self) -> None:
        SamplingSettings.__post_init__(self)
        PairwiseSettings.__post_init__(self)
        for name in ("max_answer_tokens", "sampling_batch_size"):
            if getattr(self, name) < 1:
                raise UsageError(f"loss.{name} is {getattr(self, name)}; it must be at least 1.")
        require_placeholders(self.instruction, "prompt", "first", "second")


class RankedSource:
    """Two answers to each prompt; the better one is chosen, the other rejected.

    A row without a verdict is not trained on in this step, and counted: ``unfinished`` (an answer that did not come to
    an end), ``same`` (both answers are equal, or empty), ``tie`` and ``missing``; of a server also ``failed_request``
    (it gave no answer).
    """

    def __init__(self, context: SourceContext, settings: RankedSettings) -> None:
        assert context.annotator is not None
        self._context, self._annotator = context, context.annotator
        self._decoding = settings.decoding(settings.max_answer_tokens, context.seed)
        self._server: FollowingWriter | None = None
        self._writer: Writer
        if settings.server:
            from mmpref.align.served_policy import FollowingWriter

            self._writer = self._server = FollowingWriter(settings.server, context.policy)
        else:
            from mmpref.sampling.answers import LocalWriter

            self._writer = LocalWriter(context.policy, width=settings.sampling_batch_size)

    def __call__(self, rows: Sequence[Row], step: int) -> SampledPairs:
        from mmpref.judges.annotator import Comparison, count_verdicts

        examples = [self._context.example(row, step) for row in rows]
        counts: dict[str, float] = {"rows": len(rows), "unfinished": 0, "same": 0}
        if self._server:
            self._server.follow(step)
            counts["failed_request"] = 0
        sampled = self._writer.sample(examples, self._decoding, 2)
        counts |= self._writer.notes()
        comparisons: list[tuple[Row, Comparison]] = []
        for row, example, (first, second) in zip(rows, examples, sampled, strict=True):
            if first.error or second.error:
                counts["failed_request"] += 1
            elif first.cut or second.cut:
                counts["unfinished"] += 1
            elif first.text == second.text or not (first.text and second.text):
                counts["same"] += 1
            else:
                comparisons.append((row, Comparison(example.images, example.prompt, first.text, second.text)))
        verdicts = self._annotator.compare([comparison for _, comparison in comparisons]) if comparisons else []
        pairs: list[Row] = []
        for (row, comparison), verdict in zip(comparisons, verdicts, strict=True):
            if verdict.winner is not None:
                better, worse = comparison.first, comparison.second
                if verdict.winner == "second":
                    better, worse = worse, better
                pairs.append({**row, "chosen": assistant_message(better), "rejected": assistant_message(worse)})
        return SampledPairs(pairs, {**counts, "used": len(pairs), **count_verdicts(verdicts)})
