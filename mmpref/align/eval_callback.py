"""Benchmarks before the first step of a training and every so many: a log, the best step by one of them, and an early
stop."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

from mmpref.align.recipe import Evaluator, WatchSettings, refuse_metric
from mmpref.distributed import process_index
from mmpref.errors import RunError
from mmpref.log import logger
from mmpref.run.files import JsonLines
from mmpref.run.kept_step import none_of
from mmpref.run.results_text import rounded

if TYPE_CHECKING:
    from mmpref.align.trainer_mixin import ResumableTrainerMixin


class EvalCallback(TrainerCallback):
    """Evaluates, logs, keeps the best and stops; a resumed training takes up what an earlier one logged. In several
    processes each evaluates, so that all decide the same, and the first one writes. Step 0 is the base, which is what a
    new adapter does not change, or the adapter that training goes on from; it is no step that could be kept.

    Args:
        folder: of the run.
        scratch: holds the best weights while the run lasts: those of the best step so far, and those of the best step
            up to the last checkpoint, which a restart goes on from.
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
        self._log, self._scratch, self._saved = JsonLines(folder / "evaluations.jsonl"), scratch, resumed
        self.rows = [row for row in self._log.rows() if row["step"] <= resumed]
        if not process_index():
            self._log.write(self.rows)

    @property
    def patience_exceeded(self) -> bool:
        """Whether the best is so long ago that training should stop."""
        patience, trained, best = self._settings.patience, self._trained, self._best_row()
        return patience is not None and best is not None and len(trained) - 1 - trained.index(best) >= patience

    def restore_best(self) -> None:
        """Go back to the weights of the best step, where somebody asked for the best.

        Raises:
            RunError: they were not kept.
        """
        if best := self.best():
            weights = self._weights_of(best["step"])
            if not weights.is_file():
                raise RunError(
                    f"The weights of step {best['step']}, where {best['metric']} was best, are not in {self._scratch}.",
                    "Choose another --output: the training has to begin anew.",
                )
            self._trainer.load_trainable(weights)
            logger.info(
                "Keeping the %s of step %d of %d, where %s was best: %s%s.",
                *(self._trainer.product, best["step"], self.rows[-1]["step"], best["metric"], rounded(best["value"])),
                "" if best["base"] is None else f" ({self._trainer.begins_as} {rounded(best['base'])})",
            )
            if said := none_of(self.rows, best, self._trainer.begins_as):
                logger.warning("Warning: %s by %s.", said, best["metric"])
        elif self._settings.best:
            logger.warning("Warning: no step has a value of %s: the last step is kept.", self._settings.best)

    def best(self) -> dict[str, Any] | None:
        """The step whose weights the run keeps; None where nobody asked for the best, or no step has a value of it."""
        metric, row = self._settings.best, self._best_row()
        if not metric or row is None:
            return None
        base: dict[str, Any] = next((row for row in self.rows if row["step"] == 0), {})
        return {"step": row["step"], "metric": metric, "value": row[metric], "base": base.get(metric)}

    @property
    def _trained(self) -> list[dict[str, Any]]:
        """The rows after the first step."""
        return [row for row in self.rows if row["step"] > 0]

    def _weights_of(self, step: int | str) -> Path:
        """The file of the trained weights of a step, where it was the best one; ``*`` for those of all steps. A step
        that was lost in a kill may have left one, too."""
        return self._scratch / f"best-{step}.safetensors"

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
            control.should_log = control.should_save = control.should_training_stop = True

    def _look(self, step: int) -> None:
        """Evaluate, log, and keep the weights where they are the best so far."""
        assert self._trainer.policy is not None
        with self._trainer.sampling():
            values = self._evaluate(self._trainer.policy)
        refuse_metric(self._settings.best, {name: better for name, (_, better) in values.items()})
        known = {name: value for name, (value, _) in values.items() if not math.isnan(value)}
        row: dict[str, Any] = {"step": step, **known}
        if self._settings.best:
            row["higher_is_better"] = values[self._settings.best][1]
        self.rows.append(row)
        if not process_index():
            with self._log.appending() as append:
                append(row)
            if self._best_row() is row:
                self._keep_weights(step)
        shown = ", ".join(f"{name} {rounded(value)}" for name, value in known.items())
        nothing = ", ".join(name for name in values if name not in known)
        without = f"; nothing to measure {nothing} of" if nothing else ""
        logger.info("%s: %s%s.", f"Step {step}" if step else f"Step 0 ({self._trainer.begins_as})", shown, without)

    def _keep_weights(self, step: int) -> None:
        """Keep the weights, which are the best so far, and of former ones those that a restart may come back to."""
        self._trainer.save_trainable(self._weights_of(step))
        saved = self._best_row(self._saved)
        needed = {self._weights_of(step), *([self._weights_of(saved["step"])] if saved else [])}
        for weights in {*self._scratch.glob(self._weights_of("*").name)} - needed:
            weights.unlink()

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._saved = state.global_step

    def _best_row(self, until: float = math.inf) -> dict[str, Any] | None:
        """The trained row with the best value, of equals the first; None where none has one.

        Args:
            until: the last step that counts.
        """
        metric = self._settings.best or ""
        rows = [row for row in self._trained if row["step"] <= until and metric in row]
        if not rows:
            return None
        sign = 1 if rows[0]["higher_is_better"] else -1
        best: dict[str, Any] = max(rows, key=lambda row: sign * row[metric])
        return best
