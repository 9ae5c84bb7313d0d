"""Benchmarks before the first step of a training and every so many: a log, the best step by one of them, and an early
stop."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

from mmpref.align.recipe import Evaluator, WatchSettings, refuse_metric
from mmpref.distributed import process_index
from mmpref.log import logger
from mmpref.run.files import JsonLines
from mmpref.run.kept_step import none_of
from mmpref.run.results_text import rounded

if TYPE_CHECKING:
    from mmpref.align.trainer_mixin import ResumableTrainerMixin

_BEST = "best.safetensors"
"""The trained weights at the best step so far."""


class EvalCallback(TrainerCallback):
    """Evaluates, logs, keeps the best and stops; a resumed training takes up what an earlier one logged. In several
    processes each evaluates, so that all decide the same, and the first one writes. Step 0 is the base, which is what a
    new adapter does not change, or the adapter that training goes on from; it is no step that could be kept.

    Args:
        folder: of the run.
        scratch: holds the best weights while the run lasts.
        resumed: the step that training starts from: rows past it are cut.
    """

    def __init__(
        self,
        trainer: ResumableTrainerMixin,
        evaluate: Evaluator,
        settings: WatchSettings,
        folder: Path,
        scratch: Path,
        resumed: int,
    ) -> None:
        self._trainer, self._evaluate, self._settings = trainer, evaluate, settings
        self._log, self._best_weights = JsonLines(folder / "evaluations.jsonl"), scratch / _BEST
        self.rows = [row for row in self._log.rows() if row["step"] <= resumed]
        if not process_index():
            self._log.write(self.rows)

    @property
    def patience_exceeded(self) -> bool:
        """Whether the best is so long ago that training should stop."""
        patience, trained = self._settings.patience, self._trained
        return patience is not None and bool(trained) and len(trained) - 1 - self._best_row() >= patience

    def restore_best(self) -> None:
        """Go back to the weights of the best step, where somebody asked for the best."""
        if best := self.best():
            self._trainer.load_trainable(self._best_weights)
            logger.info(
                "Keeping the %s of step %d of %d, where %s was best: %s%s.",
                *(self._trainer.product, best["step"], self.rows[-1]["step"], best["metric"], rounded(best["value"])),
                "" if best["base"] is None else f" ({self._trainer.begins_as} {rounded(best['base'])})",
            )
            if said := none_of(self.rows, best, self._trainer.begins_as):
                logger.warning("Warning: %s by %s.", said, best["metric"])

    def best(self) -> dict[str, Any] | None:
        """The step whose weights the run keeps; None where nobody asked for the best."""
        metric, trained = self._settings.best, self._trained
        if not metric or not trained:
            return None
        row, base = trained[self._best_row()], next((row for row in self.rows if row["step"] == 0), {})
        return {"step": row["step"], "metric": metric, "value": row[metric], "base": base.get(metric)}

    @property
    def _trained(self) -> list[dict[str, Any]]:
        """The rows after the first step."""
        return [row for row in self.rows if row["step"] > 0]

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 0 and not self.rows:
            self._look(0)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        due = state.global_step % self._settings.every == 0 or state.global_step >= state.max_steps
        if not due or (self.rows and self.rows[-1]["step"] == state.global_step):
            return
        self._look(state.global_step)
        if self.patience_exceeded:
            logger.info(
                "%s has not improved for %d evaluations: stopping.", self._settings.best, self._settings.patience
            )
            control.should_save = control.should_training_stop = True

    def _look(self, step: int) -> None:
        """Evaluate, log, and keep the weights where they are the best so far."""
        assert self._trainer.policy is not None
        with self._trainer.sampling():
            values = self._evaluate(self._trainer.policy)
        refuse_metric(self._settings.best, {name: better for name, (_, better) in values.items()})
        row: dict[str, Any] = {"step": step, **{name: value for name, (value, _) in values.items()}}
        if self._settings.best:
            row["higher_is_better"] = values[self._settings.best][1]
        self.rows.append(row)
        if not process_index():
            with self._log.appending() as append:
                append(row)
            if self._settings.best and step and self._best_row() == len(self._trained) - 1:
                self._trainer.save_trainable(self._best_weights)
        shown = ", ".join(f"{name} {rounded(value)}" for name, (value, _) in values.items())
        logger.info("%s: %s.", f"Step {step}" if step else f"Step 0 ({self._trainer.begins_as})", shown)

    def _best_row(self) -> int:
        """Number of the trained row with the best value; of equals the first."""
        metric, trained = self._settings.best or "", self._trained
        sign = 1 if trained[0]["higher_is_better"] else -1
        return max(range(len(trained)), key=lambda number: (sign * trained[number][metric], -number))
