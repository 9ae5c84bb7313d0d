"""Benchmarks every so many steps of a training: a log, the best adapter by one of them, and an early stop."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

from mmpref.align.watch_settings import BEST, Evaluator, WatchSettings
from mmpref.distributed import process_index
from mmpref.errors import UsageError
from mmpref.log import logger
from mmpref.run.files import JsonLines

if TYPE_CHECKING:
    from mmpref.align.trainer import PreferenceTrainer


class Watching(TrainerCallback):
    """Evaluates, logs, keeps the best and stops; a resumed training takes up what an earlier one logged. In several
    processes each evaluates, so that all decide the same, and the first one writes.

    Args:
        folder: of the run; its state holds the best weights.
        resumed: the step that training starts from: rows past it are cut.
    """

    def __init__(
        self,
        trainer: PreferenceTrainer,
        evaluate: Evaluator,
        settings: WatchSettings,
        folder: Path,
        state: Path,
        resumed: int,
    ) -> None:
        self._trainer, self._evaluate, self._settings = trainer, evaluate, settings
        self._log, self._best = JsonLines(folder / "evaluations.jsonl"), state / BEST
        self.rows = [row for row in self._log.rows() if row["step"] <= resumed]
        if not process_index():
            self._log.write(self.rows)

    @property
    def exhausted(self) -> bool:
        """Whether the best is so long ago that training should stop."""
        patience = self._settings.patience
        return patience is not None and bool(self.rows) and len(self.rows) - 1 - self._best_row() >= patience

    def best(self) -> dict[str, Any] | None:
        """The step whose weights the run keeps; None where nobody asked for the best."""
        if not self._settings.best or not self.rows:
            return None
        row = self.rows[self._best_row()]
        return {"step": row["step"], "metric": self._settings.best, "value": row[self._settings.best]}

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        due = state.global_step % self._settings.every == 0 or state.global_step >= state.max_steps
        if not due or (self.rows and self.rows[-1]["step"] == state.global_step):
            return
        assert self._trainer.writer is not None
        with self._trainer.sampling():
            found = self._evaluate(self._trainer.writer)
        self._check(found)
        row = {"step": state.global_step, **{name: value for name, (value, _) in found.items()}}
        if self._settings.best:
            row["higher_is_better"] = found[self._settings.best][1]
        self.rows.append(row)
        if not process_index():
            with self._log.appending() as append:
                append(row)
            if self._settings.best and self._best_row() == len(self.rows) - 1:
                self._trainer.keep(self._best)
        told = ", ".join(f"{name} {value:.3f}" for name, (value, _) in found.items())
        logger.info("Step %d: %s.", state.global_step, told)
        if self.exhausted:
            logger.info(
                "%s has not improved for %d evaluations: stopping.", self._settings.best, self._settings.patience
            )
            control.should_save = control.should_training_stop = True

    def _best_row(self) -> int:
        """Number of the row with the best value; of equals the first."""
        metric = self._settings.best or ""
        sign = 1 if self.rows[0]["higher_is_better"] else -1
        return max(range(len(self.rows)), key=lambda number: (sign * self.rows[number][metric], -number))

    def _check(self, found: Mapping[str, tuple[float, bool | None]]) -> None:
        metric = self._settings.best
        if metric and metric not in found:
            raise UsageError(f"No benchmark here has the metric {metric!r}.", f"There are: {', '.join(found)}.")
        if metric and found[metric][1] is None:
            raise UsageError(f"Neither more nor less of {metric} is better.", "Choose another --best.")
