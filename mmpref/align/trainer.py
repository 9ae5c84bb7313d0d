"""TRL's `DPOTrainer` with what answers share run once, a learning rate for the projector, and exact resuming."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from peft import PeftModel
from transformers import PrinterCallback, TrainerState
from trl import DPOTrainer

from mmpref.align.adapter import in_model_precision, in_training_precision, is_projector
from mmpref.align.checkpoints import seal, writing
from mmpref.align.rows import ROW
from mmpref.run import write_atomic

if TYPE_CHECKING:
    from mmpref.align.reference import ReferenceLogProbs
    from mmpref.vlm.shared import SharedForward

PENDING = "pending.json"


class PreferenceTrainer(DPOTrainer):
    """Losses, batches and metrics are TRL's; the reference is the model with its adapter switched off.

    Args:
        projector_learning_rate: for the parameters in PEFT's ``modules_to_save``; the schedule is the common one.
        shared: runs image and prompt once for both answers; None for TRL's own forward.
        reference: keeps the reference's log-probabilities; None to ask it at every step.
    """

    def __init__(
        self, *args: Any, projector_learning_rate: float, shared: SharedForward | None = None,
        reference: ReferenceLogProbs | None = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        self._projector_learning_rate = projector_learning_rate
        super().__init__(*args, **kwargs)
        self.shared, self._reference = shared, reference
        # TRL refuses to fill a column of them beforehand where there are images; it takes them from a batch.
        self.precompute_ref_logps = reference is not None
        in_training_precision(self.model)
        self.remove_callback(PrinterCallback)  # It prints on stdout, which is for results.

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
        return loss

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

    def restore_finished(self, checkpoint: Path) -> bool:
        """Load the weights of a checkpoint that was the last one; False, and nothing done, where steps are left."""
        state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
        if state.global_step < state.max_steps:
            return False
        self._load_from_checkpoint(str(checkpoint))
        self.state = state
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
