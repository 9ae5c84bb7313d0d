"""Work on the blocks of a source: each is preprocessed one ahead, turned into pairs and skips, and kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from mmpref.counts import sum_counts
from mmpref.data.builder import SAME, Outcome, Worker
from mmpref.data.shards import Blocks
from mmpref.data.sources import NO_PAIR, Source
from mmpref.errors import (
    ChatTemplateError,
    HubError,
    ImageError,
    ModelError,
    RunError,
    UsageError,
    is_out_of_memory,
    reason_of,
)
from mmpref.log import counted, logger
from mmpref.tables.rows import same_answer
from mmpref.types import Example, Pair, Skip

if TYPE_CHECKING:
    from mmpref.vlm.policy import Policy

OnProgress = Callable[[int, Sequence[Pair | Skip]], None]
Rows = list[Example | Skip]
Notes = dict[str, float]

EMPTY = "empty-rejected"
"""Reason of a skip: the rejected answer came out empty."""
SPECIAL = "special-token"
"""Reason of a skip: a text has one of the model's special tokens in it."""
_FATAL_ERRORS = (ModelError, HubError, RunError, UsageError)
"""What no row is to blame for: the build ends."""
_BAD_IMAGE = "bad-image"
_FAILED = "failed"
_FAULTS = (_BAD_IMAGE, ChatTemplateError.reason, _FAILED)
"""Reasons of skips: what a worker raised over one row."""


class SpecialTokenFilter:
    """Skips pairs with a text that the model's tokenizer does not take for text: the source's answers and those that
    the model has written.

    Args:
        policy: the model, where one has been loaded.
    """

    def __init__(self, policy: Callable[[], Policy | None]) -> None:
        self._policy = policy
        self._special_token: Callable[[str], str | None] | None = None

    def __call__(self, outcome: Pair | Skip) -> Pair | Skip:
        if isinstance(outcome, Skip) or (policy := self._policy()) is None:
            return outcome
        if self._special_token is None:
            from mmpref.vlm.special_tokens import special_token_in

            self._special_token = special_token_in(policy.markup_tokens)
        texts = {
            "prompt": "\n".join(turn.content for turn in outcome.example.prompt),
            "chosen": outcome.chosen,
            "rejected": outcome.rejected,
            "rejected_policy": outcome.rejected_policy or "",
        }
        for name, text in texts.items():
            if token := self._special_token(text):
                return Skip(outcome.example.id, SPECIAL, f"{name} contains {token}")
        return outcome


def check_rejected(outcome: Pair | Skip) -> Pair | Skip:
    """The pair, or a skip where nothing can be learned from it."""
    if isinstance(outcome, Skip):
        return outcome
    if not outcome.rejected.strip():
        return Skip(outcome.example.id, EMPTY)
    return Skip(outcome.example.id, SAME) if same_answer(outcome.rejected, outcome.chosen) else outcome


class BlockRunner:
    """Does the blocks of a run that are not done yet.

    Args:
        blocks: where they are kept.
        worker: the method's worker, made on the first call.
        policy: the run's model, where one has been loaded.
        keep_rejected: leave the source's answer in ``rejected``, and the method's beside it.
    """

    def __init__(
        self, blocks: Blocks, worker: Callable[[], Worker], policy: Callable[[], Policy | None], keep_rejected: bool
    ) -> None:
        self._blocks, self._worker, self._keep_rejected = blocks, worker, keep_rejected
        self._policy, self._filter = policy, SpecialTokenFilter(policy)
        self._failed: list[str] = []
        """Rows that an unexpected error took, while none worked."""

    def run(
        self, source: Source, size: int, shard: tuple[int, int] | None = None, on_progress: OnProgress | None = None
    ) -> int:
        """Do the shard's blocks.

        Args:
            size: rows of a block.
            on_progress: told how many rows there are to do, of nothing before the first block, and then of each.

        Returns:
            How many blocks the source has.
        """
        index, of = shard or (0, 1)
        count = -(-len(source) // size)
        open_blocks = {number for number in range(index, count, of) if not self._blocks.done(number)}
        total = sum(min(size, len(source) - number * size) for number in open_blocks)
        ahead = self._preprocess_ahead(source.blocks(size, open_blocks.__contains__))
        for done, (number, rows) in enumerate(ahead):
            if on_progress and not done:
                on_progress(total, [])  # a block may take minutes, and the model is loaded
            outcomes_of_rows, notes = self._outcomes(rows)
            of_rows = [[self._checked(one) for one in of_row] for of_row in outcomes_of_rows]
            self._blocks.write(number, of_rows, notes, source.named_images(number))
            if on_progress:
                on_progress(total, [of_row[0] for of_row in of_rows])
        return count

    def _checked(self, outcome: Pair | Skip) -> Pair | Skip:
        return self._filter(self._with_source_rejected(check_rejected(outcome)))

    def _preprocess_ahead(self, blocks: Iterator[tuple[int, Rows]]) -> Iterator[tuple[int, Rows]]:
        """The blocks, each begun by the worker one block before its turn."""
        previous: tuple[int, Rows] | None = None
        for number, rows in blocks:
            rows = [self._need_rejected(row) for row in rows]
            if any(isinstance(row, Example) for row in rows):
                worker = self._worker()  # which loads the model
                rows = [self._need_written(row) for row in rows]
                if examples := [row for row in rows if isinstance(row, Example)]:
                    worker.begin(examples)
            if previous is not None:
                yield previous
            previous = number, rows
        if previous is not None:
            yield previous

    def _need_rejected(self, row: Example | Skip) -> Example | Skip:
        """The row, if it has the rejected answer that is to be kept."""
        if not self._keep_rejected or isinstance(row, Skip):
            return row
        if not row.rejected:
            return Skip(row.id, "no-rejected")
        return Skip(row.id, SAME) if same_answer(row.rejected, row.answer) else row

    def _need_written(self, row: Example | Skip) -> Example | Skip:
        """The row, if the chat template of the run's model, where one has been loaded, takes its turns."""
        if isinstance(row, Skip) or (policy := self._policy()) is None:
            return row
        answers = {"chosen": row.answer, "rejected": row.rejected if self._keep_rejected else None}
        kept = {name: answer for name, answer in answers.items() if answer}
        if refused := policy.prompter.refused(row.prompt, len(row.images), kept):
            part, words = refused
            return Skip(row.id, ChatTemplateError.reason, f"{part}: {words}")
        return row

    def _with_source_rejected(self, outcome: Pair | Skip) -> Pair | Skip:
        """With the source's rejected answer where it is to be kept, and the method's beside it for averaged losses."""
        if not self._keep_rejected or isinstance(outcome, Skip) or outcome.example.rejected is None:
            return outcome
        return dataclasses.replace(
            outcome, rejected=outcome.example.rejected, rejected_policy=outcome.rejected, rejected_by="example"
        )

    def _outcomes(self, rows: Rows) -> tuple[list[list[Pair | Skip]], Notes]:
        """The pairs of each of the block's rows, or why there is none, in the source's order, and what was counted; an
        example that fails is skipped alone."""
        examples = [row for row in rows if isinstance(row, Example)]
        if not examples:
            return [[row] for row in rows if isinstance(row, Skip)], {}
        worker = self._worker()
        try:
            outcomes, notes = _done(worker, examples)
        except _FATAL_ERRORS:
            raise
        except Exception as error:
            outcomes, notes = self._without_bad_rows(worker, examples, error)
        else:
            self._failed.clear()
        results = iter(outcomes)
        each = [row if isinstance(row, Skip) else next(results) or Skip(row.id, NO_PAIR) for row in rows]
        return [[*one] if isinstance(one, tuple) else [one] for one in each], notes

    def _without_bad_rows(
        self, worker: Worker, examples: Sequence[Example], error: Exception
    ) -> tuple[list[Outcome], Notes]:
        """Do a block again without the rows that it fails on. Those that are left stay together, since a method may
        take an answer, or images, of one for another.

        Args:
            error: what the block as a whole ended with.
        """
        skips: dict[str, Skip] = {}
        left, done, notes = [*examples], list[Outcome](), Notes()
        while left:
            bad = {one.id: Skip(one.id, _BAD_IMAGE, str(error)) for one in left if _is_shown(one, error)}
            alone = {} if bad else self._one_by_one(worker, left, error)
            bad |= {name: one for name, (one, _) in alone.items() if isinstance(one, Skip) and one.reason in _FAULTS}
            for skip in bad.values():
                logger.warning("Row %s is skipped: %s", skip.id, skip.detail)
            skips |= bad
            left = [one for one in left if one.id not in bad]
            if alone and not bad:
                told = "Warning: %s, from %s on, are done one by one, for together they fail: %s"
                logger.warning(told, counted(len(left), "row"), left[0].id, reason_of(error))
            if alone and (not bad or len(left) < 2):
                done, notes = [alone[one.id][0] for one in left], sum_counts(alone[one.id][1] for one in left)
                break
            try:
                done, notes = _done(worker, left) if left else ([], {})
            except _FATAL_ERRORS:
                raise
            except Exception as another:
                error = another
            else:
                break
        if done:
            self._failed.clear()
        results = iter(done)
        return [skips[one.id] if one.id in skips else next(results) for one in examples], notes

    def _one_by_one(
        self, worker: Worker, examples: Sequence[Example], first: Exception
    ) -> dict[str, tuple[Outcome, Notes]]:
        """Each example done alone, with a skip for one that a method cannot digest. The fault is not theirs if it is
        every one of several whose images are right, and the method has not worked before either.

        Args:
            first: what they ended with together.

        Returns:
            By id, what became of it, and what was counted.
        """
        alone: dict[str, tuple[Outcome, Notes]] = {}
        for example in examples:
            try:
                [outcome], notes = _done(worker, [example])
            except _FATAL_ERRORS:
                raise
            except ImageError as error:
                outcome, notes = Skip(example.id, _BAD_IMAGE, str(error)), {}
            except ChatTemplateError as error:  # of what a method asks, which is more than the row holds
                outcome, notes = Skip(example.id, error.reason, str(error)), {}
            except Exception as error:
                outcome, notes = Skip(example.id, _FAILED, f"{type(error).__name__}: {reason_of(error)}"), {}
                self._failed.append(example.id)
            alone[example.id] = outcome, notes
        if any(not (isinstance(outcome, Skip) and outcome.reason in _FAULTS) for outcome, _ in alone.values()):
            self._failed.clear()
        elif len(self._failed) > 1 and not self._blocks.have_pairs():
            raise first
        return alone


def _done(worker: Worker, examples: Sequence[Example]) -> tuple[list[Outcome], Notes]:
    """What a worker makes of examples, and what it has counted. What it counted before it failed is forgotten: the
    examples are done again, or skipped.

    Raises:
        RunError: memory does not suffice. Fewer examples at a time would succeed, with other bytes than on a machine
            with more memory.
    """
    try:
        return [*worker(examples)], worker.notes()
    except Exception as error:
        worker.notes()
        if isinstance(error, _FATAL_ERRORS) or not is_out_of_memory(error):
            raise
        raise RunError(
            f"The memory of the machine does not suffice: {reason_of(error)}",
            "Use a smaller --set builder.batch_size=NUMBER or --set block_size=NUMBER.",
        ) from error


def _is_shown(example: Example, error: Exception) -> bool:
    """Whether the images that an error is about are an example's own."""
    return isinstance(error, ImageError) and len(error.shown) > 0 and error.shown == example.images
