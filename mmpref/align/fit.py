"""From the last complete checkpoint to the end of a training: callbacks, resuming, and an orderly stop."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mmpref.align.callbacks import (
    DivergenceCallback,
    LogCallback,
    OnProgress,
    ProgressCallback,
    RestoreCallback,
    StopCallback,
)
from mmpref.align.checkpoints import checkpoints_folder, latest_checkpoint, step_of
from mmpref.align.eval_callback import EvalCallback
from mmpref.distributed import is_model_sharded, main_process_first
from mmpref.errors import RunError, is_killed_worker, reason_of
from mmpref.log import logger
from mmpref.vlm.adapters import check_names

if TYPE_CHECKING:
    from mmpref.align.recipe import Evaluator, WatchSettings
    from mmpref.align.trainer_mixin import ResumableTrainerMixin


def fit(
    trainer: ResumableTrainerMixin,
    folder: Path,
    scratch: Path,
    watch: WatchSettings,
    evaluate: Evaluator | None,
    on_progress: OnProgress | None,
) -> EvalCallback | None:
    """Train to the end.

    Args:
        folder: of the run, where the log goes.
        scratch: has the checkpoints.
        watch: what is evaluated while training.

    Returns:
        The evaluations, if there are any.

    Raises:
        RunError: a loss, gradient or weight that is not finite, no room on the disk, or a process that made batches and
            died.
        KeyboardInterrupt: the user stopped it; a checkpoint is written.
    """
    with main_process_first():
        checkpoint = latest_checkpoint(checkpoints_folder(scratch))
    resumed = step_of(checkpoint) if checkpoint else 0
    trainer.add_callback(DivergenceCallback())
    trainer.add_callback(LogCallback(folder / "log.jsonl", resumed))
    eval_callback = None
    if evaluate and watch.benchmarks:
        eval_callback = EvalCallback(trainer, evaluate, watch, folder, scratch, resumed)
        trainer.add_callback(eval_callback)
    if on_progress:
        trainer.add_callback(ProgressCallback(on_progress))
    if checkpoint:
        logger.info("Resuming from step %d.", resumed)
        if not is_model_sharded() and not trainer.in_full:  # which save in other files
            check_names(str(checkpoint), trainer.model)
        stopped = eval_callback is not None and eval_callback.patience_exceeded
        if trainer.restore_finished(checkpoint, stopped):
            return eval_callback
        trainer.add_callback(RestoreCallback(lambda: trainer.restore_pending_sums(checkpoint)))
    stop = StopCallback()
    trainer.add_callback(stop)
    with stop.handling_signals(), _deaths_told():
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    return eval_callback


@contextlib.contextmanager
def _deaths_told() -> Iterator[None]:
    """torch ends a training whose data workers die, and says so in words of its own."""
    try:
        yield
    except RuntimeError as error:
        if not is_killed_worker(error):
            raise
        raise RunError(
            f"A process that prepares batches ended: {reason_of(error).rstrip('.')}.",
            "Mostly memory is short, or /dev/shm is small, as in containers: --set trainer.dataloader_num_workers=0. "
            "The same command goes on from the last checkpoint.",
        ) from error
