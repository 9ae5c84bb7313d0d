"""``attn``: a training that attends by another kernel is the same, says by which, and is refused where it cannot be;
and the output head of long answers goes in chunks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from trl import DPOTrainer
from trl.kernels import chunked_logprob
from trl.trainer import utils

from mmpref.align.collator import PreferenceCollator
from mmpref.align.recipe import LoraSettings, TrainRecipe
from mmpref.align.train import train
from mmpref.align.trainer import PreferenceTrainer
from mmpref.errors import UsageError
from mmpref.vlm.shared_prefix_forward import SharedForward
from tests.vlm.cpu_kernels import on_cpu, policy_with
from tests.vlm.tiny import tiny

from .conftest import MODEL
from .test_sharing import assert_equal, make, rows, step


def ours(name: str, folder: Path, attn: str = "auto") -> DPOTrainer:
    policy = policy_with(tiny(name), attn)
    return make(
        PreferenceTrainer,
        policy,
        folder,
        checkpointing=True,
        projector_learning_rate=1e-3,
        data_collator=PreferenceCollator(policy.processor),
        shared=SharedForward(policy),
    )


@pytest.mark.parametrize(
    ("name", "attn"),
    [("llava_mistral_sliding", "flash"), ("qwen3_vl", "flash"), ("qwen3_vl", "flex"), ("gemma3", "flex")],
)
def test_a_step_on_rows_without_padding_is_trls(name: str, attn: str, tmp_path: Path) -> None:
    theirs = make(DPOTrainer, tiny(name), tmp_path / "a", False)
    expected = step(theirs, theirs.data_collator(rows()))
    with on_cpu():
        trainer = ours(name, tmp_path / "b", attn)
        assert_equal(step(trainer, trainer.data_collator(rows())), expected)
    assert list(trainer.shared.kernels) == [attn]


def test_the_output_head_goes_in_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TRL's; of a large vocabulary no more logits are there at a time than fit a chunk."""
    trainer = ours("llava_next", tmp_path / "a")
    batch = trainer.data_collator(rows())
    sizes: list[tuple[int, ...]] = []
    fold = chunked_logprob._forward_tile

    def seen(tile: torch.Tensor, *args: Any, **kwargs: Any) -> None:
        sizes.append(tuple(tile.shape))
        fold(tile, *args, **kwargs)

    monkeypatch.setattr(chunked_logprob, "_forward_tile", seen)
    expected = step(trainer, batch)
    whole = {vocabulary for _, vocabulary in sizes}
    sizes.clear()
    monkeypatch.setattr(utils, "_CHUNKED_LOGPROB_CHUNK_SIZE", 16)
    monkeypatch.setattr(chunked_logprob, "TOKEN_CHUNK_SIZE", 4)
    assert_equal(step(trainer, batch), expected)
    assert min(whole) > 16
    assert (max(tokens for tokens, _ in sizes), max(width for _, width in sizes)) == (4, 16)


def recipe(data: Path, **changes: Any) -> TrainRecipe:
    trainer = {"max_steps": 1, "per_device_train_batch_size": 3, "gradient_accumulation_steps": 1}
    return TrainRecipe(MODEL, (str(data),), lora=LoraSettings(4, 8), trainer=trainer, **changes)


def test_a_run_says_by_what_it_attended(preferences: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "mmpref")
    with on_cpu():
        manifest = train(recipe(preferences, attn="flex"), tmp_path / "run")
    assert manifest["attention"] == {"flex": "as asked"}
    assert "Answers attend by flex: as asked." in caplog.messages


def test_of_a_kernel_that_nobody_named_the_log_says_nothing(
    preferences: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "mmpref")
    manifest = train(recipe(preferences), tmp_path / "run")
    assert manifest["attention"]
    assert "attend" not in caplog.text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attn": "flash"}, "attn=flash: FlashAttention needs a CUDA GPU, and the model is on a cpu"),
        ({"attn": "flex"}, "attn=flex: FlexAttention has no backward pass on a cpu"),
        ({"attn": "sdpa", "share_prompt": False}, "share_prompt=false shares none"),
        ({"attn": "sdpa", "method": "rloo", "loss": {"reward": "x"}}, "the method rloo shares none"),
    ],
)
@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU can do it")
def test_what_cannot_be_had_is_refused_before_any_work(
    changes: dict[str, Any], message: str, preferences: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        train(recipe(preferences, **changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()
