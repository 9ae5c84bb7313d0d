"""What happens around training steps: log rows, progress, and an orderly stop when the user asks for one."""

from __future__ import annotations

import contextlib
import math
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from mmpref.align.divergence import diverged
from mmpref.distributed import num_processes, process_index
from mmpref.errors import UsageError
from mmpref.log import counted, logger
from mmpref.run.files import JsonLines

_SMALLER_BATCH = "Name a smaller --batch-size=NUMBER or --set trainer.gradient_accumulation_steps=NUMBER, or more rows."
OnProgress = Callable[[int, int], None]


class LogCallback(TrainerCallback):
    """One JSON row a logging step, flushed at once; rows past the resumed step are cut first. In several processes all
    log, since a row is of all of them, and the first one writes.

    Args:
        path: ``log.jsonl``.
        resumed: the step that training starts from.
    """

    def __init__(self, path: Path, resumed: int) -> None:
        self._log = JsonLines(path)
        if not process_index():
            self._log.write(row for row in self._log.rows() if row["step"] <= resumed)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step >= state.max_steps:
            control.should_log = True  # The last row describes the last step, whatever logging_steps is.

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        if process_index() or not logs or "loss" not in logs:
            return  # Trainer's last message holds timings only.
        row = {"step": state.global_step, "epoch": state.epoch, **logs}
        with self._log.appending() as append:
            append(row)


class DivergenceCallback(TrainerCallback):
    """Ends a training at the first logged step whose loss or gradient is not finite."""

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        # In fp16 the loss is scaled by trial: a gradient that overflows costs a step, and no more.
        for what, name in {"loss": "loss", **({} if args.fp16 else {"gradient": "grad_norm"})}.items():
            if logs and not math.isfinite(logs.get(name, 0.0)):
                raise diverged(what, state.global_step, args.learning_rate)


class ScheduleCallback(TrainerCallback):
    """Says before the first step what a step is, how many there are, and by which rates they learn; and where a step
    asks for more rows than there are, or takes some twice.

    Args:
        projector: the projector's learning rate; None where it is not trained.
        rows: how many there are.
    """

    def __init__(self, projector: float | None, rows: int) -> None:
        self._projector, self._rows = projector, rows

    def on_train_begin(self, args: Any, state: Any, control: Any, train_dataloader: Any = None, **kwargs: Any) -> None:
        logger.info("%s", schedule_line(args, state.max_steps, num_processes(), self._projector))
        self._compare(args, train_dataloader is None or len(train_dataloader) > 0)

    def _compare(self, args: Any, any_batch: bool) -> None:
        """Compare a step with the rows.

        Args:
            any_batch: whether they make a batch.

        Raises:
            UsageError: they make none.
        """
        if not any_batch:
            raise no_batch(args, self._rows)
        asked = _asked(args)
        if asked > self._rows:
            logger.warning(
                "Warning: the global batch is of %g rows, and there %s %s: an epoch is one step on all of them. %s",
                asked,
                "is" if self._rows == 1 else "are",
                counted(self._rows, "row"),
                _SMALLER_BATCH,
            )
        if repeated := rows_again(args, num_processes(), self._rows):
            logger.warning(
                "Warning: the last batch of an epoch is filled up with %s of its beginning, so that processes "
                "have batches of one size. --set trainer.dataloader_drop_last=true leaves out what is no whole batch.",
                counted(repeated, "row"),
            )


def rows_again(args: Any, processes: int, rows: int) -> int:
    """How many rows accelerate puts behind an epoch's last ones, from its beginning, so that all processes have batches
    of one size. TRL's trainers that sample answers leave incomplete batches out.

    Args:
        args: of transformers' Trainer.
    """
    if processes == 1 or args.dataloader_drop_last or getattr(args, "num_generations", None):
        return 0
    return -rows % (processes * int(args.train_batch_size))


def refuse_no_batch(args: Any, rows: int) -> None:
    """Refuse a training whose rows make no whole batch where incomplete ones are left out.

    Args:
        args: of transformers' Trainer, which finds no number of steps for it.

    Raises:
        UsageError: it is one.
    """
    if args.dataloader_drop_last and rows < num_processes() * args.train_batch_size:
        raise no_batch(args, rows)


def no_batch(args: Any, rows: int) -> UsageError:
    """That so many rows make no step."""
    return UsageError(
        f"There would be no step: one takes {_asked(args):g} rows, incomplete ones are left out, and there "
        f"{'is' if rows == 1 else 'are'} {counted(rows, 'row')}.",
        _SMALLER_BATCH,
    )


def _asked(args: Any) -> float:
    """The rows that a step takes."""
    size = num_processes() * args.train_batch_size * args.gradient_accumulation_steps
    return float(size / (getattr(args, "num_generations", None) or 1))


def schedule_line(args: Any, steps: int, processes: int, projector: float | None) -> str:
    """The global batch and what it is made of, steps, warm-up and learning rates. TRL's trainers that sample several
    answers a row (``num_generations``) count answers.

    Args:
        args: of transformers' Trainer.
        steps: to the end.
        projector: as of `ScheduleCallback`.
    """
    size, accumulated = args.train_batch_size, args.gradient_accumulation_steps
    warm_up = args.get_warmup_steps(steps)
    rates = f"{args.learning_rate:g}" + (f", projector {projector:g}" if projector is not None else "")
    batch, samples = processes * size * accumulated, getattr(args, "num_generations", None)
    total = f"{batch} answers ({batch / samples:g} rows x {samples} samples)" if samples else str(batch)
    return (
        f"Global batch {total} = {counted(processes, 'process', 'processes')} x "
        f"{counted(size, 'answer' if samples else 'row')} x {accumulated} accumulated; "
        f"{counted(steps, 'step')}, {warm_up or 'none'} of them warm-up; learning rate {rates}."
    )


class RestoreCallback(TrainerCallback):
    """Restores the sums of a checkpoint when training begins, once Trainer has set its own to zero."""

    def __init__(self, restore: Callable[[], None]) -> None:
        self._restore = restore

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._restore()


class ProgressCallback(TrainerCallback):
    """Tells the caller how many steps are done, of how many."""

    def __init__(self, on_progress: OnProgress) -> None:
        self._on_progress = on_progress

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._on_progress(state.global_step, state.max_steps)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._on_progress(state.global_step, state.max_steps)


class StopCallback(TrainerCallback):
    """On a first Ctrl-C or SIGTERM: finish the step, write a checkpoint, stop. A second one stops at once."""

    requested = False

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.requested:
            control.should_save = True
            control.should_training_stop = True

    @contextlib.contextmanager
    def handling_signals(self) -> Iterator[None]:
        """Handle signals; where one came, end in KeyboardInterrupt once training has stopped."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

        def handle(number: int, frame: Any) -> None:
            if self.requested:
                if callable(before := handlers[signal.Signals(number)]):
                    before(number, frame)  # which may keep that it came
                raise KeyboardInterrupt
            self.requested = True

        for number in handlers:
            signal.signal(number, handle)
        try:
            yield
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        if self.requested:
            raise KeyboardInterrupt
