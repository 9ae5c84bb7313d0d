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

from mmpref.errors import RunError
from mmpref.run.files import JsonLines

OnProgress = Callable[[int, int], None]


class LogRows(TrainerCallback):
    """One JSON row a logging step, flushed at once; rows past the resumed step are cut first.

    Args:
        path: ``log.jsonl``.
        resumed: the step that training starts from.
    """

    def __init__(self, path: Path, resumed: int) -> None:
        self._log = JsonLines(path)
        self._log.write(row for row in self._log.rows() if row["step"] <= resumed)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step >= state.max_steps:
            control.should_log = True  # The last row describes the last step, whatever logging_steps is.

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        if not logs or "loss" not in logs:
            return  # Trainer's last message holds timings only.
        if not math.isfinite(logs["loss"]):
            raise RunError(
                f"The loss is {logs['loss']} at step {state.global_step}.",
                "Lower trainer.learning_rate or loss.beta, or use another dtype.",
            )
        row = {"step": state.global_step, "epoch": state.epoch, **logs}
        with self._log.appending() as append:
            append(row)


class Restore(TrainerCallback):
    """Calls back when training begins, once Trainer has set its own sums to zero."""

    def __init__(self, begin: Callable[[], None]) -> None:
        self._begin = begin

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._begin()


class Progress(TrainerCallback):
    """Tells the caller how many steps are done, of how many."""

    def __init__(self, tell: OnProgress) -> None:
        self._tell = tell

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._tell(state.global_step, state.max_steps)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._tell(state.global_step, state.max_steps)


class Stop(TrainerCallback):
    """On a first Ctrl-C or SIGTERM: finish the step, write a checkpoint, stop. A second one stops at once."""

    asked = False

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.asked:
            control.should_save = True
            control.should_training_stop = True

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Listen for signals; where one came, end in KeyboardInterrupt once training has stopped."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

        def hear(number: int, frame: Any) -> None:
            if self.asked:
                raise KeyboardInterrupt
            self.asked = True

        for number in before:
            signal.signal(number, hear)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        if self.asked:
            raise KeyboardInterrupt
