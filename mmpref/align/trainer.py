"""TRL's `DPOTrainer` with what answers share run once, a learning rate for the projector, and exact resuming."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from peft import PeftModel
from transformers import PrinterCallback, TrainerState
from trl import DPOTrainer

from mmpref.align.adapter import in_model_precision, in_training_precision, is_projector
from mmpref.align.checkpoints import seal, writing
from mmpref.align.collator import ROWS, PreferenceCollator, as_they_are
from mmpref.align.rows import ROW
from mmpref.errors import RunError
from mmpref.run import write_atomic

if TYPE_CHECKING:
    from mmpref.align.pairs import Drawn, PairSource
    from mmpref.align.reference import ReferenceLogProbs
    from mmpref.vlm.shared import SharedForward

PENDING = "pending.json"
_PATIENCE = 50
"""Batches in a row that may give no pair."""


class PreferenceTrainer(DPOTrainer):
    """Losses, batches and metrics are TRL's; the reference is the model with its adapter switched off.

    Args:
        projector_learning_rate: for the parameters in PEFT's ``modules_to_save``; the schedule is the common one.
        shared: runs image and prompt once for both answers; None for TRL's own forward.
        reference: keeps the reference's log-probabilities; None to ask it at every step.
        source: makes the pairs of a step from the rows of the data; None where they are the rows.

    Attributes:
        collate: makes a batch of rows that are pairs.
        drawn: what the source has counted so far in this process.
    """

    def __init__(
        self, *args: Any, projector_learning_rate: float, shared: SharedForward | None = None,
        reference: ReferenceLogProbs | None = None, source: PairSource | None = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        self._projector_learning_rate = projector_learning_rate
        self.collate = PreferenceCollator(kwargs["processing_class"])
        super().__init__(*args, data_collator=as_they_are if source else self.collate, **kwargs)
        self._source, self.drawn, self._barren, self._hollow = source, dict[str, float](), 0, False
        self.shared, self._reference = shared, reference
        # TRL refuses to fill a column of them beforehand where there are images; it takes them from a batch.
        self.precompute_ref_logps = reference is not None
        in_training_precision(self.model)
        self.remove_callback(PrinterCallback)  # It prints on stdout, which is for results.

    def training_step(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> torch.Tensor:
        """As Trainer's, on the pairs that the source makes of the rows. A batch without a pair changes nothing."""
        if self._source is None:
            return super().training_step(model, inputs, *args, **kwargs)
        drawn = self._draw(self._source, inputs[ROWS])
        if drawn.rows:
            return super().training_step(model, self.collate([dict(row) for row in drawn.rows]), *args, **kwargs)
        if self.accelerator.num_processes == 1:
            return torch.zeros((), device=self.args.device)
        # The other processes wait for this one's gradients, so it gives some that are zero.
        self._hollow = True
        try:
            return super().training_step(model, self.collate([dict(inputs[ROWS][0])]), *args, **kwargs)
        finally:
            self._hollow = False

    def _draw(self, source: PairSource, rows: list[dict[str, Any]]) -> Drawn:
        with self._sampling():
            drawn = source(rows, self.state.global_step)
        for name, value in drawn.counts.items():
            self.drawn[name] = self.drawn.get(name, 0) + value
            self._metrics["train"][f"pairs/{name}"].append(value)
        self._barren = 0 if drawn.rows else self._barren + 1
        if self._barren >= _PATIENCE:
            raise RunError(f"The last {_PATIENCE} batches gave no pair ({_listed(drawn.counts)} in the last).",
                           "Look at the annotator, and at loss.temperature and loss.max_answer_tokens.")  # fmt: skip
        return drawn

    @contextlib.contextmanager
    def _sampling(self) -> Iterator[None]:
        """The policy as a writer: no gradients, dropout or checkpointing; the precision of training's forward."""
        self.model.eval()
        try:
            with torch.no_grad(), self.compute_loss_context_manager():
                yield
        finally:
            self.model.train()

    def _compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool) -> Any:
        rows, tokens = inputs.pop(ROW, None), inputs["attention_mask"].sum()
        with self.shared.instead(inputs) if self.shared else contextlib.nullcontext(inputs) as seen:
            if self._reference is not None:
                known = self._reference.of(rows, lambda: self.compute_ref_log_probs(self.model, seen))
                seen = {**seen, "ref_chosen_logps": known[0], "ref_rejected_logps": known[1]}
            loss = super()._compute_loss(model, seen, return_outputs)
            if self.model.training:  # TRL counts the tokens of what it was given
                left_out = self.accelerator.gather_for_metrics(tokens - seen["attention_mask"].sum()).sum().item()
                self._total_train_tokens += left_out
                self._metrics["train"]["num_tokens"] = [self._total_train_tokens]
        return loss * 0 if self._hollow else loss

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """Trainer's optimizer; the projector's parameters move into groups of their own."""
        if self.optimizer is not None:
            return self.optimizer
        optimizer = super().create_optimizer(model)
        names = {parameter: name for name, parameter in self.model.named_parameters()}
        for group in list(optimizer.param_groups):
            projector = [parameter for parameter in group["params"] if is_projector(names[parameter])]
            if projector:
                group["params"] = [parameter for parameter in group["params"] if not is_projector(names[parameter])]
                optimizer.add_param_group(
                    {"params": projector, "weight_decay": group["weight_decay"], "lr": self._projector_learning_rate}
                )
        return optimizer

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        checkpoint = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        with writing(str(checkpoint)):
            super()._save_checkpoint(model, trial)
        # Sums since the last log row; neither Trainer nor TRL keeps them, and the next row would miss them.
        pending = {
            "loss": self._tr_loss.item(),
            "total_loss": self._total_loss_scalar,
            "last_logged": self._globalstep_last_logged,
            "tokens": self._total_train_tokens,
            "metrics": self._metrics["train"],
            "drawn": self.drawn,
            "barren": self._barren,
        }
        write_atomic(checkpoint / PENDING, json.dumps(pending))
        seal(checkpoint)

    def restore_pending(self, checkpoint: Path) -> None:
        """Take up the sums of a checkpoint; call it when training begins, after Trainer has set them to zero."""
        pending = json.loads((checkpoint / PENDING).read_text(encoding="utf-8"))
        self._tr_loss.fill_(pending["loss"])
        self._total_loss_scalar = pending["total_loss"]
        self._globalstep_last_logged = pending["last_logged"]
        self._total_train_tokens = pending["tokens"]
        self._metrics["train"].update(pending["metrics"])
        self.drawn, self._barren = pending["drawn"], pending["barren"]

    def restore_finished(self, checkpoint: Path) -> bool:
        """Load the weights of a checkpoint that was the last one; False, and nothing done, where steps are left."""
        state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
        if state.global_step < state.max_steps:
            return False
        self._load_from_checkpoint(str(checkpoint))
        self.state = state
        self.drawn = json.loads((checkpoint / PENDING).read_text(encoding="utf-8"))["drawn"]
        return True

    def policy(self) -> PeftModel:
        """The trained model as it will be loaded: without the mixed precision that training wraps around it."""
        model = self.accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)
        in_model_precision(model)
        return model

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: the run writes its own card."""

    def _send_telemetry(self) -> None:
        """Nothing: a run sends no word of itself to anybody."""


def _listed(counts: Mapping[str, float]) -> str:
    return ", ".join(f"{value:g} {name}" for name, value in counts.items() if value)
