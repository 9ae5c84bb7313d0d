"""What every trainer here has, whichever of TRL's: exact resuming, a learning rate for the projector, the best step."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import PrinterCallback, TrainerState

from mmpref.align import adapter
from mmpref.align.checkpoints import mark_complete, sums_file, write_errors
from mmpref.align.collator import SECOND_BATCH, PreferenceCollator
from mmpref.align.divergence import refuse_diverged
from mmpref.align.sharded import is_sharded, prepare_sharding
from mmpref.align.tuning import parts_of
from mmpref.distributed import process_index
from mmpref.run.files import write_atomic
from mmpref.vlm.vision_tower import own_precision

if TYPE_CHECKING:
    from mmpref.vlm.policy import Policy

    Base = Any
else:
    Base = object


_TRAINED = "trained.safetensors"
"""Of a checkpoint of full fine-tuning: the weights that are trained."""


class ResumableTrainerMixin(Base):
    """Stands before one of TRL's trainers in a class's bases.

    Attributes:
        collate: makes a batch of rows that are pairs.
        policy: around the model that is trained, for whoever samples from it.
        in_full: whether the model's own weights are trained, and no adapter.
        product: what comes of that, for readers: a ``model`` or an ``adapter``.
        begins_as: what the policy is before the first step.
        began: the adapter that it goes on from, a folder or Hub id with its commit; None for a new one.
        sample_counts: what was counted so far, in all processes, of answers that were sampled while training.
    """

    collate: PreferenceCollator
    begins_as = "the base"
    began: tuple[str, str | None] | None = None
    _total_train_tokens: float

    def facts(self) -> dict[str, Any]:
        """What the run's manifest should say of this trainer."""
        return {"drawn": self.sample_counts} if self.sample_counts else {}

    def set_up(self, policy: Policy | None, projector_learning_rate: float) -> None:
        """What follows on the trainer's own beginning.

        Args:
            projector_learning_rate: for the projector's parameters; the schedule is the common one.
        """
        self.policy, self._projector_learning_rate = policy, projector_learning_rate
        self.sample_counts: dict[str, float] = {}
        self._empty_batches: int = 0
        self.in_full = not isinstance(self.model, PeftModel)
        self.product = "model" if self.in_full else "adapter"
        if not self.in_full:
            adapter.without_card(self.model)
            adapter.to_training_precision(self.model)
        prepare_sharding(self.model, self.accelerator.state, self.is_deepspeed_enabled)
        self.remove_callback(PrinterCallback)  # It prints on stdout, which is for results.

    @contextlib.contextmanager
    def sampling(self) -> Iterator[None]:
        """The policy as a sampler: no gradients, dropout or checkpointing; the weights and precision that it will have
        when it is loaded. (From a model that is sharded over processes nothing is sampled.)"""
        model = self.accelerator.unwrap_model(self.model)
        self.model.eval()
        try:
            as_loaded = own_precision(model) if self.in_full else adapter.as_loaded(model)
            with torch.no_grad(), contextlib.nullcontext() if is_sharded(model) else as_loaded:
                yield
        finally:
            self.model.train()

    def try_step(self, rows: Sequence[dict[str, Any]]) -> str | None:
        """A step on rows of the data, forward and backward, that leaves nothing behind; or why there can be none."""
        return "this method trains on what it samples"

    @contextlib.contextmanager
    def without_logging(self) -> Iterator[None]:
        """Steps within it leave nothing in the log."""
        metrics = {name: list(values) for name, values in self._metrics["train"].items()}
        tokens = self._total_train_tokens
        try:
            yield
        finally:
            self._metrics["train"].clear()
            self._metrics["train"].update(metrics)
            self._total_train_tokens = tokens

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """Trainer's optimizer; the projector's parameters move into groups of their own."""
        if self.optimizer is not None:
            return self.optimizer
        optimizer = super().create_optimizer(model)
        parts, named = parts_of(self.model, self.policy), dict(self.model.named_parameters())
        projectors = {named[name] for name, part in parts.items() if part == "projector"}
        for group in list(optimizer.param_groups):
            projector = [parameter for parameter in group["params"] if parameter in projectors]
            if projector:
                group["params"] = [parameter for parameter in group["params"] if parameter not in projectors]
                optimizer.add_param_group(
                    {"params": projector, "weight_decay": group["weight_decay"], "lr": self._projector_learning_rate}
                )
        return optimizer

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        self.refuse_diverged()
        checkpoint = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        with write_errors(str(checkpoint)):
            super()._save_checkpoint(model, trial)
        if self.args.should_save:
            self.save_state(checkpoint)
        write_atomic(checkpoint / sums_file(process_index()), json.dumps(self.pending_sums()))
        self.accelerator.wait_for_everyone()  # each process writes files of its own
        if self.args.should_save:
            mark_complete(checkpoint)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        if not self.in_full:
            super()._save(output_dir, state_dict)
            return
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        self.save_trainable(folder / _TRAINED)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Trainer reads a whole model's files without a strict look at names, which are not those in memory for most
        families here, and would go on from the base."""
        if self.in_full:
            self.load_trainable(Path(resume_from_checkpoint) / _TRAINED)
        else:
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def save_state(self, checkpoint: Path) -> None:
        """Write what else this trainer needs to go on from a checkpoint; only one process is asked."""

    def pending_sums(self) -> dict[str, Any]:
        """Sums since the last log row; neither Trainer nor TRL keeps them, and the next row would miss them."""
        return {
            "loss": self._tr_loss.item(),
            "total_loss": self._total_loss_scalar,
            "last_logged": self._globalstep_last_logged,
            "tokens": self._total_train_tokens,
            "metrics": self._metrics["train"],
            "sample_counts": self.sample_counts,
            "empty_batches": self._empty_batches,
        }

    def restore_pending_sums(self, checkpoint: Path) -> None:
        """Take up the sums of a checkpoint; call it when training begins, after Trainer has set them to zero."""
        self.load_pending_sums(_read_pending(checkpoint))

    def load_pending_sums(self, pending: dict[str, Any]) -> None:
        """Go on with the sums that `pending_sums` gave."""
        self._tr_loss.fill_(pending["loss"])
        self._total_loss_scalar = pending["total_loss"]
        self._globalstep_last_logged = pending["last_logged"]
        self._total_train_tokens = pending["tokens"]
        self._metrics["train"].update(pending["metrics"])
        self.sample_counts, self._empty_batches = pending["sample_counts"], pending["empty_batches"]

    def restore_finished(self, checkpoint: Path, stopped: bool = False) -> bool:
        """Load the weights of a checkpoint that was the last one; False, and nothing done, where steps are left.

        Args:
            stopped: it was the last one although steps are left.
        """
        state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
        if state.global_step < state.max_steps and not stopped:
            return False
        self._load_from_checkpoint(str(checkpoint))
        self.state = state
        self.sample_counts = _read_pending(checkpoint)["sample_counts"]
        return True

    def refuse_diverged(self) -> None:
        """See that what is trained may be kept. (Of a model that is sharded over processes the log alone is watched.)

        Raises:
            RunError: a weight that is not finite.
        """
        if not is_sharded(self.model):
            weights = (value for _, value in self._trainable_parameters())
            refuse_diverged(weights, self.state.global_step, self.args.learning_rate)

    def save_trainable(self, path: Path) -> None:
        """Write what is trained, as it is now."""
        trained = {name: value.detach().contiguous() for name, value in self._trainable_parameters()}
        with write_errors(str(path)):
            save_file(trained, path.with_name(f".{path.name}.tmp"))
            path.with_name(f".{path.name}.tmp").replace(path)

    def load_trainable(self, path: Path) -> None:
        """Go back to what `save_trainable` wrote."""
        weights = load_file(path)
        with torch.no_grad():
            for name, value in self._trainable_parameters():
                value.copy_(weights[name].to(value.device))

    def _trainable_parameters(self) -> list[tuple[str, torch.nn.Parameter]]:
        return [(name, value) for name, value in self.model.named_parameters() if value.requires_grad]

    def adapter_verifier(
        self, path: Path, policy: Policy, row: dict[str, Any], trust_remote_code: bool
    ) -> Callable[[], dict[str, Any]]:
        """What verifies that the files hold what was trained, once this trainer is out of memory; as
        `mmpref.align.adapter.verify_saved_adapter`."""
        batch = {name: value for name, value in self.collate([dict(row)]).items() if name != SECOND_BATCH}
        dtype = str(policy.dtype).removeprefix("torch.")
        placement = replace(policy.placement, device=str(policy.device))
        # FSDP and DeepSpeed bring LoRA to the base's precision; whoever loads it keeps it in fp32.
        slack = 5.0 if is_sharded(self.model) else 1.0
        trained = adapter.logits(self.trained_model(), batch)
        verify = partial(adapter.verify_saved_adapter, path, policy.ref, batch, trained, dtype, placement)
        return partial(verify, trust_remote_code, slack, self.in_full, self.began)

    def trained_model(self) -> Any:
        """The trained model as it will be loaded: without the mixed precision that training wraps around it."""
        model = self.accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)
        if not self.in_full and not is_sharded(model):  # FSDP and DeepSpeed cast by themselves
            adapter.to_model_precision(model)
        return model

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: the run writes its own card."""

    def _send_telemetry(self) -> None:
        """Nothing: a run sends no word of itself to anybody."""


def _read_pending(checkpoint: Path) -> dict[str, Any]:
    pending: dict[str, Any] = json.loads((checkpoint / sums_file(process_index())).read_text(encoding="utf-8"))
    return pending
