"""A step is the mean over its pairs, whatever its micro-batches; the oracle is one large batch of the same pairs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback

from mmpref.align import trl_options
from mmpref.align.adapter import HEAD, lora_config
from mmpref.align.collator import PreferenceCollator
from mmpref.align.pair_source import Row, SampledPairs
from mmpref.align.preference_data import Pairs, collect_pairs, with_row_numbers
from mmpref.align.recipe import LoraSettings
from mmpref.align.reward_trainer import RewardTrainer
from mmpref.align.trainer import PreferenceTrainer
from mmpref.errors import RunError
from mmpref.tables.open import open_table
from mmpref.types import ModelRef
from mmpref.vlm.load import load_policy
from mmpref.vlm.reward_model import add_value_head

from .conftest import MODEL

STEPS = 2
BATCH = 4


class Some:
    """A source that finds pairs for some rows of each batch.

    Args:
        places: of those rows, batch after batch; the last ones again and again.
    """

    def __init__(self, *places: Sequence[int]) -> None:
        self._places = list(places)

    def __call__(self, rows: Sequence[Row], step: int) -> SampledPairs:
        places = self._places.pop(0) if len(self._places) > 1 else self._places[0]
        return SampledPairs([rows[place] for place in places], {"rows": len(rows), "used": len(places)})


def in_parts(*sizes: int) -> Some:
    """Of a step's micro-batches the first so many rows each, at every step alike."""
    return Some(*(range(size) for _ in range(STEPS) for size in sizes))


def at_once(*sizes: int) -> Some:
    """The same rows of one large batch."""
    return Some([BATCH * number + place for number, size in enumerate(sizes) for place in range(size)])


@pytest.fixture(scope="module")
def pairs(preferences: Path, tmp_path_factory: pytest.TempPathFactory) -> Pairs:
    return collect_pairs([open_table(str(preferences))], tmp_path_factory.mktemp("pairs"), image_token="<image>")


def trained(
    pairs: Pairs,
    folder: Path,
    batch: int,
    accumulated: int,
    source: Any = None,
    rows: int | None = None,
    reward: bool = False,
    callback: TrainerCallback | None = None,
    **trainer: Any,
) -> PreferenceTrainer:
    """A trainer after its training. Plain gradient descent: its steps are as long as the gradients."""
    block = {
        "per_device_train_batch_size": batch,
        "gradient_accumulation_steps": accumulated,
        "optim": "sgd",
        "learning_rate": 0.1,
        "lr_scheduler_type": "constant",
        "max_grad_norm": 1e9,
        "save_strategy": "no",
        "max_steps": STEPS,
        **trainer,
    }
    method = {name: block.pop(name) for name in ("loss_type", "loss_weights") if name in block}
    used = trl_options.resolve(block, {"beta": 0.1, **method}, seed=3, dtype="float32", dropout=False)
    policy = load_policy(ModelRef(MODEL))
    dataset = with_row_numbers(pairs.dataset if rows is None else pairs.dataset.select(range(rows)))
    kind, more = PreferenceTrainer, {"source": source}
    if reward:
        add_value_head(policy.model)
        kind, more = RewardTrainer, {}
    made = kind(
        model=policy.model,
        args=trl_options.config(used, folder),
        train_dataset=dataset,
        processing_class=policy.processor,
        data_collator=PreferenceCollator(policy.processor),
        policy=policy,
        peft_config=lora_config(policy, LoraSettings(4, 8), True, [HEAD] if reward else []),
        projector_learning_rate=block["learning_rate"],
        callbacks=[callback] if callback else None,
        **more,
    )
    if reward:  # it begins at nothing, where pairs have no gradients of their own
        torch.manual_seed(1)
        head = made.model.get_base_model().get_submodule(HEAD).modules_to_save["default"]
        torch.nn.init.normal_(head.weight, std=0.1)
    made.train()
    return made


def assert_same(one: PreferenceTrainer, other: PreferenceTrainer) -> None:
    """The same weights, and the same log but for what counts batches."""
    theirs = dict(other.model.named_parameters())
    for name, value in one.model.named_parameters():
        if value.requires_grad:
            assert torch.allclose(value, theirs[name], rtol=1e-3, atol=2e-6), name
    logs = [[row for row in trainer.state.log_history if "loss" in row] for trainer in (one, other)]
    assert len(logs[0]) == len(logs[1])
    for ours, expected in zip(*logs, strict=True):
        assert ours.keys() == expected.keys()
        for name in ours.keys() - {"pairs/rows", "pairs/used"}:
            assert ours[name] == pytest.approx(expected[name], rel=1e-3, abs=1e-5), name


LOSSES: dict[str, dict[str, Any]] = {
    "dpo": {},
    "sft": {"loss_type": ["sft"]},
    "mpo": {"loss_type": ["sigmoid", "bco_pair", "sft"], "loss_weights": [0.8, 0.2, 1.0]},
}


@pytest.mark.parametrize(
    ("sizes", "loss"), [((1, 4), "dpo"), ((0, 4), "dpo"), ((4, 0), "dpo"), ((1, 3), "sft"), ((1, 3), "mpo")]
)
def test_a_step_is_the_mean_over_the_pairs_that_were_found(
    sizes: tuple[int, ...], loss: str, pairs: Pairs, tmp_path: Path
) -> None:
    parts = trained(pairs, tmp_path / "a", BATCH, len(sizes), in_parts(*sizes), **LOSSES[loss])
    whole = trained(pairs, tmp_path / "b", BATCH * len(sizes), 1, at_once(*sizes), **LOSSES[loss])
    assert_same(parts, whole)
    assert parts.sample_counts == whole.sample_counts
    if loss == "dpo":
        rows = [row for row in parts.state.log_history if "loss" in row]
        assert rows[0]["loss"] == pytest.approx(0.6931, abs=1e-4)
        assert abs(rows[-1]["loss"] - 0.6931) > 1e-3


@pytest.mark.parametrize("reward", [False, True])
def test_the_last_step_of_an_epoch_is_the_mean_over_what_is_left(reward: bool, pairs: Pairs, tmp_path: Path) -> None:
    """7 rows are batches of 4 and 3."""
    settings: dict[str, Any] = {"rows": 7, "reward": reward}
    assert_same(trained(pairs, tmp_path / "a", 4, 2, **settings), trained(pairs, tmp_path / "b", 7, 1, **settings))


class Weights(TrainerCallback):
    """The sum of what is trained, after every step."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        self.seen.append(
            sum(float(value.detach().double().abs().sum()) for value in model.parameters() if value.requires_grad)
        )


@pytest.mark.parametrize("every", [1, 2, 4])
def test_a_step_without_a_pair_changes_nothing_and_is_no_loss_of_zero(every: int, pairs: Pairs, tmp_path: Path) -> None:
    """Steps of 3, 0, 2 and 0 pairs; the optimizer has momentum."""
    weights = Weights()
    source = Some(range(3), (), (), (), range(1), range(1), (), ())
    trainer = trained(
        pairs,
        tmp_path,
        BATCH,
        2,
        source,
        callback=weights,
        optim="adamw_torch",
        learning_rate=1e-3,
        max_steps=4,
        logging_steps=every,
    )
    assert weights.seen[0] == weights.seen[1] != weights.seen[2] == weights.seen[3]
    rows = [row for row in trainer.state.log_history if "loss" in row]
    assert len(rows) == {1: 2, 2: 2, 4: 1}[every]
    assert all(0.6 < row["loss"] < 0.7 for row in rows)
    assert all("kl/chosen" in row and row["pairs/rows"] == BATCH for row in rows)
    assert trainer.sample_counts == {"rows": 4 * 2 * BATCH, "used": 5}
    assert sum(row["pairs"] for row in rows) == 5


def test_a_row_of_several_steps_is_the_mean_over_their_pairs(pairs: Pairs, tmp_path: Path) -> None:
    """7 rows are steps of 4 and 3 pairs."""
    settings: dict[str, Any] = {"rows": 7, "learning_rate": 1.0}
    each, [both] = (
        [
            row
            for row in trained(pairs, tmp_path / str(every), 4, 1, logging_steps=every, **settings).state.log_history
            if "loss" in row
        ]
        for every in (1, 2)
    )
    assert [row["pairs"] for row in each] == [4, 3]
    assert both["pairs"] == 7
    for name in ("loss", "rewards/margins", "logps/chosen", "lengths/rejected"):
        of_steps = [row[name] for row in each]
        expected = (4 * of_steps[0] + 3 * of_steps[1]) / 7
        assert both[name] == pytest.approx(expected, rel=1e-5), name
        assert abs(expected - sum(of_steps) / 2) > 1e-4 * abs(expected), "the steps differ, or the test says nothing"
    assert both["num_tokens"] == each[-1]["num_tokens"], "a sum"


def test_sums_of_an_earlier_version_are_refused(pairs: Pairs, tmp_path: Path) -> None:
    trainer = trained(pairs, tmp_path, 4, 1)
    sums = {name: value for name, value in trainer.pending_sums().items() if name != "row"}
    with pytest.raises(RunError, match="begun by an earlier mmpref"):
        trainer.load_pending_sums(sums)
