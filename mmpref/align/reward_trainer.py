"""Training a reward model: Bradley-Terry on pairs, with image and prompt run once for both answers.

TRL's own RewardTrainer takes no images. Batches, resuming, logs and optimizer are `PreferenceTrainer`'s.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import logsigmoid

from mmpref.align.accuracy import ranked_right
from mmpref.align.collator import SECOND_BATCH
from mmpref.align.preference_data import ROW, Pairs, checks_of, collect_pairs, sources_of
from mmpref.align.trainer import PreferenceTrainer
from mmpref.distributed import main_process_first
from mmpref.errors import RunError
from mmpref.tables.open import open_table, with_split
from mmpref.tables.table import Table
from mmpref.types import ModelRef
from mmpref.vlm.reward_model import RewardModel, values

if TYPE_CHECKING:
    from mmpref.vlm.policy import Policy
    from mmpref.vlm.quantization import Placement


class RewardTrainer(PreferenceTrainer):
    """-log sigmoid(reward of chosen - reward of rejected); the reference has no part in it.

    Args:
        held_out: preference sets, ``NAME`` or ``NAME:SPLIT``, that its accuracy is measured on in the end. Their rows
            are read at once, as those of the training are.
        folder: a place for their rows.
        image_root: of their images, as of the training's.
    """

    def __init__(
        self,
        *args: Any,
        held_out: Sequence[str] = (),
        folder: Path | None = None,
        image_root: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        folders = {
            spec: (folder or Path()) / f"held-out-{number}" for number, spec in enumerate(dict.fromkeys(held_out))
        }
        tables = {spec: open_held_out(spec, place) for spec, place in folders.items()}
        super().__init__(*args, **kwargs)
        # What cannot be used is reported before the work, not after it.
        self._held_out = {spec: self._read(table, folders[spec], image_root) for spec, table in tables.items()}

    def _read(self, table: Table, folder: Path, image_root: Sequence[str]) -> Pairs:
        assert self.policy is not None
        with main_process_first():
            folder.mkdir(exist_ok=True)
            return collect_pairs([table], folder, **checks_of(self.policy), image_root=image_root)

    def facts(self) -> dict[str, Any]:
        """What is logged as rewards, which the held-out sets are, their rows, and the share of them that the model
        ranks as they are."""
        facts = {}
        for spec, pairs in self._held_out.items():
            [source] = pairs.sources
            known = {name: source.get(name) for name in ("id", "revision", "fingerprint")}
            skipped = {"skipped": pairs.skipped} if pairs.skipped else {}
            facts[spec] = {**known, "rows": len(pairs.dataset), "accuracy": self.accuracy(pairs), **skipped}
        return {"logged_reward": "the value that the model gives the answer", "held_out": facts}

    def _compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool) -> Any:
        inputs = {name: value for name, value in inputs.items() if name not in (ROW, SECOND_BATCH)}
        chosen, rejected = self.rewards(model, inputs).chunk(2)
        loss = -logsigmoid(chosen - rejected).mean() * self.pair_weight
        right = ranked_right(chosen, rejected)
        logged = {"chosen": chosen, "rejected": rejected, "margins": chosen - rejected, "accuracies": right}
        for name, value in logged.items():
            self._log_mean(f"rewards/{name}", value)
        for name, length in zip(("chosen", "rejected"), inputs["completion_mask"].sum(1).chunk(2), strict=True):
            self._log_mean(f"lengths/{name}", length)
        tokens = self.accelerator.gather(inputs["attention_mask"].sum()).sum().item()
        self._total_train_tokens += tokens
        self._metrics["train"]["num_tokens"] = [self._total_train_tokens]
        return (loss, None) if return_outputs else loss

    def rewards(self, model: Any, batch: dict[str, Any]) -> torch.Tensor:
        """Rewards [2B] of a batch as TRL's collator makes it."""
        base = self.accelerator.unwrap_model(self.model).get_base_model()
        hidden: list[torch.Tensor] = []
        hook = base.base_model.register_forward_hook(lambda _m, _i, output: hidden.append(output.last_hidden_state))
        try:
            with self._shared_inputs([batch]) as [batch]:
                self._select_batch(0)
                inputs = {name: value for name, value in batch.items() if name != "completion_mask"}
                model(**inputs, use_cache=False, logits_to_keep=1)
        finally:
            hook.remove()
        ends = batch["attention_mask"].sum(1) - 1
        return values(base, hidden[0][torch.arange(len(ends), device=ends.device), ends])

    def adapter_verifier(
        self, path: Path, policy: Policy, row: dict[str, Any], trust_remote_code: bool
    ) -> Callable[[], dict[str, Any]]:
        """What verifies that the files hold what was trained, once this trainer is out of memory."""
        with self.sampling():
            trained = self.rewards(self.model, self._prepare_inputs(self.collate([dict(row)]))).tolist()
        placement = replace(policy.placement, device=str(policy.device))
        return partial(
            verify_saved_reward_model, path, policy.ref, row, trained, str(policy.dtype), placement, trust_remote_code
        )

    def accuracy(self, pairs: Pairs, batch_size: int = 16) -> float:
        """Share of pairs whose chosen answer has the higher reward; ties count half."""
        correct = 0.0
        with self.sampling():
            for rows in _row_batches(pairs, batch_size):
                batch = self._prepare_inputs(self.collate(rows))
                chosen, rejected = self.rewards(self.model, batch).chunk(2)
                correct += float(ranked_right(chosen, rejected).sum())
        return correct / len(pairs.dataset)


def _row_batches(pairs: Pairs, size: int) -> Iterator[list[dict[str, Any]]]:
    for start in range(0, len(pairs.dataset), size):
        yield [pairs.dataset[index] for index in range(start, min(start + size, len(pairs.dataset)))]


def open_held_out(spec: str, folder: Path) -> Table:
    """The preference set ``NAME`` or ``NAME:SPLIT``; of the Hub at the commit that an interrupted training read.

    Args:
        folder: of the rows that were read of it.
    """
    begun = next(iter(sources_of(folder)), {})
    return open_table(*with_split(spec, "train"), revision=begun.get("revision"))


def verify_saved_reward_model(
    path: Path,
    ref: ModelRef,
    row: dict[str, Any],
    trained: Sequence[float],
    dtype: str,
    placement: Placement,
    trust_remote_code: bool,
) -> dict[str, Any]:
    """Load the saved reward model, and compare its rewards of a row's answers with those of the trained one.

    Args:
        row: a row of the data.
        trained: rewards of its chosen and its rejected answer.
        placement: how the base was brought into memory, and is again.

    Returns:
        ``differs`` (largest difference) and ``tolerance``.

    Raises:
        RunError: the files do not hold what was trained, or nothing was learned.
    """
    from mmpref.types import messages, text_of

    gc.collect()  # The trainer is a knot of references; without this its model would stay beside ours.
    dtype = dtype.removeprefix("torch.")
    loaded = RewardModel.load(
        ModelRef(ref.model, ref.revision, str(path)),
        dtype=dtype,
        trust_remote_code=trust_remote_code,
        **asdict(placement),
    )
    answers = [text_of(row["chosen"]), text_of(row["rejected"])]
    rewards = loaded.score(row["images"], messages(row["prompt"]), answers)
    differs = max(abs(reward - expected) for reward, expected in zip(rewards, trained, strict=True))
    exact = dtype == "float32" and placement.quantization is None
    tolerance = (1e-4 if exact else 5e-2) * max(1.0, *(abs(value) for value in trained))
    if not differs <= tolerance:
        raise RunError(
            f"The reward model saved in {path} is not the one that was trained: loaded back, its rewards "
            f"differ by {differs:.3g} (at most {tolerance:.3g} is allowed)."
        )
    if rewards[0] == rewards[1]:
        raise RunError(
            f"The reward model saved in {path} gives both answers the same: nothing was learned.",
            "Train with a higher --learning-rate=NUMBER, more --epochs=NUMBER, or a shorter warm-up: "
            "--set trainer.warmup_steps=NUMBER",
        )
    return {"differs": differs, "tolerance": tolerance}
