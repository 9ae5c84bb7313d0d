"""Losses that weigh rows, words or images against their naive forms, and where the weights come from."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch.nn.functional import logsigmoid
from trl import DPOTrainer

from mmpref.align.collator import SECOND_BATCH, PreferenceCollator
from mmpref.align.method import METHODS
from mmpref.align.methods.chip import NoiseSource
from mmpref.align.methods.symmpo import PartnerSource, partners
from mmpref.align.pair_source import SourceContext
from mmpref.align.preference_data import OTHER_PAIR, REJECTED_POLICY, ROW, collect_pairs
from mmpref.align.recipe import LoraSettings, TrainRecipe
from mmpref.align.train import train
from mmpref.align.trainer import PreferenceTrainer
from mmpref.align.weights import ROW_WEIGHT, TOKEN_WEIGHTS
from mmpref.errors import InputError
from mmpref.hub.cards.model import write_model_card
from mmpref.tables.columns import own_columns
from mmpref.tables.open import open_table
from mmpref.tables.rows import Fault
from mmpref.tables.weights import read_weights
from mmpref.vlm.shared_prefix_forward import SharedForward
from tests.vlm.tiny import tiny

from .conftest import MODEL
from .cut import whole_and_cut
from .test_sharing import assert_equal, make, rows, step

SEVERITIES = [1.0, 2.5, 0.5]
SPANS: list[list[dict[str, Any]]] = [
    [{"begin": 6, "end": 8, "weight": 4.0}],  # w5 of "w1 w2 w5 ."
    [{"begin": 0, "end": 2, "weight": 2.0}, {"begin": 1, "end": 9, "weight": 0.0}],  # w8; w9 and w10
    [],
]
TOKENS = [[1, 1, 4, 1], [2, 0, 0, 1, 1, 1], [1, 1, 1, 1, 1]]
"""The weights of the rejected answers' words."""


class Naive:
    """Whole sequences and plain logits of a batch, row by row."""

    def __init__(self, trainer: DPOTrainer, batch: dict[str, Any]) -> None:
        ours = ("completion_mask", ROW, ROW_WEIGHT, TOKEN_WEIGHTS, SECOND_BATCH, OTHER_PAIR)
        inputs = {name: value for name, value in batch.items() if name not in ours}
        mask, ids = batch["completion_mask"][:, 1:].bool(), batch["input_ids"][:, 1:]
        policy = trainer.model(**inputs).logits[:, :-1].log_softmax(-1)
        with torch.no_grad(), trainer.model.disable_adapter():
            base = trainer.model(**inputs).logits[:, :-1].log_softmax(-1)
        kl = (base.exp() * (base - policy)).sum(-1)
        ratio = (policy - base).gather(2, ids[..., None])[..., 0]
        self.ids = [ids[row][mask[row]].tolist() for row in range(len(ids))]
        self.ratios = [ratio[row][mask[row]] for row in range(len(ids))]
        said = policy.gather(2, ids[..., None])[..., 0]
        self.log_probs = [said[row][mask[row]] for row in range(len(ids))]
        self.kl = [kl[row][mask[row]].sum() for row in range(len(ids))]

    def margin(self, row: int) -> torch.Tensor:
        return self.ratios[row].sum() - self.ratios[row + 3].sum()


def hsa_dpo(own: Naive, batch: dict[str, Any], trainer: DPOTrainer) -> torch.Tensor:
    losses = [-logsigmoid(0.3 * (own.ratios[n].sum() - SEVERITIES[n] * own.ratios[n + 3].sum())) for n in range(3)]
    return torch.stack(losses).mean()


def dama(own: Naive, batch: dict[str, Any], trainer: DPOTrainer) -> torch.Tensor:
    """`SEVERITIES` are the columns' values here."""
    mean = 1 / (1 + math.exp(-sum(SEVERITIES) / 3))
    betas = [0.3 / (1 + math.exp(-value)) / mean for value in SEVERITIES]
    return torch.stack([-logsigmoid(beta * own.margin(n)) for n, beta in enumerate(betas)]).mean()


def token_dpo(own: Naive, batch: dict[str, Any], trainer: DPOTrainer) -> torch.Tensor:
    losses = []
    for n, weights in enumerate(TOKENS):
        ratios = own.ratios[n + 3]
        weighted = torch.tensor([*weights, *[1] * (len(ratios) - len(weights))]) * ratios
        losses.append(-logsigmoid(0.3 * (own.ratios[n].sum() - weighted.sum())))
    return torch.stack(losses).mean()


def by_segment(own: Naive, n: int, *answers: torch.Tensor) -> list[torch.Tensor]:
    """Sums of ratios in which tokens behind what pair n shares weigh 3: answers here share their beginning, or nothing,
    and none a later run of three tokens."""
    chosen, rejected = own.ids[n], own.ids[n + 3]
    shared = next(k for k in range(9) if chosen[: k + 1] != rejected[: k + 1])
    return [
        sum(((3.0 if place >= shared else 1.0) * one for place, one in enumerate(ratios)), torch.tensor(0.0))
        for ratios in answers
    ]


def segments(own: Naive, batch: dict[str, Any], trainer: DPOTrainer) -> torch.Tensor:
    sums = [by_segment(own, n, own.ratios[n], own.ratios[n + 3]) for n in range(3)]
    return torch.stack([-logsigmoid(0.3 * (chosen - rejected)) for chosen, rejected in sums]).mean()


def chip(own: Naive, batch: dict[str, Any], trainer: DPOTrainer) -> torch.Tensor:
    noisy, losses = Naive(trainer, batch[OTHER_PAIR]), []
    for n in range(3):
        m, r, v = by_segment(own, n, own.ratios[n], own.ratios[n + 3], noisy.ratios[n])
        losses.append(-logsigmoid(0.3 * (m - r + 0.5 * (m - v) - 0.2 * (own.kl[n + 3] - own.kl[n].detach()))))
    return torch.stack(losses).mean()


def symmpo(own: Naive, batch: dict[str, Any], trainer: DPOTrainer) -> torch.Tensor:
    second, other, losses = Naive(trainer, batch[SECOND_BATCH]), Naive(trainer, batch[OTHER_PAIR]), []
    for n in range(3):
        first, turned = second.margin(n), other.margin(n)
        losses.append(
            -logsigmoid(0.3 * own.margin(n))
            + 0.7 * (-logsigmoid(0.3 * first) - logsigmoid(0.3 * turned))
            + 0.4 * (-logsigmoid(0.3 * own.ratios[n].sum()) - logsigmoid(0.3 * other.ratios[n].sum()))
            + 0.1 * (first - turned) ** 2
        )
    return torch.stack(losses).mean()


CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "hsa-dpo": (hsa_dpo, {}),
    "dama": (dama, {}),
    "token-dpo": (token_dpo, {}),
    "token-dpo without columns": (segments, {"segment": 3.0}),
    "chip": (chip, {"segment": 3.0, "visual": 0.5, "token": 0.2, "noise_steps": 300}),
    "symmpo": (symmpo, {"symmetric": 0.7, "anchor": 0.4, "consistency": 0.1}),
}


def as_made(name: str, settings: Any) -> list[dict[str, Any]]:
    """Rows as the method's trainer collates them."""
    made = [{**row, ROW: number} for number, row in enumerate(rows())]
    method = METHODS.get(name.split()[0])
    if name in ("hsa-dpo", "dama"):
        weights = method.weigh(settings, pa.array(SEVERITIES).to_numpy())
        return [{**row, ROW_WEIGHT: weight} for row, weight in zip(made, weights, strict=True)]
    if name == "token-dpo":
        return [{**row, "rejected_weights": spans} for row, spans in zip(made, SPANS, strict=True)]
    if name == "token-dpo without columns":
        return made
    if name == "chip":
        return [dict(row) for row in NoiseSource(SourceContext(None, 0, lambda _: ()), settings)(made, 4).rows]  # type: ignore[arg-type]
    others = [*made[1:], made[0]]
    return [
        {
            **row,
            REJECTED_POLICY: other["chosen"],
            OTHER_PAIR: {"images": other["images"], "chosen": other["chosen"], "rejected": row["chosen"]},
        }
        for row, other in zip(made, others, strict=True)
    ]


@pytest.mark.parametrize("share", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_a_step_is_the_naive_one(name: str, share: bool, tmp_path: Path) -> None:
    naive, values = CASES[name]
    policy, method = tiny("llava_next"), METHODS.get(name.split()[0])
    settings = method.settings(beta=0.3, **values)
    ours = make(
        PreferenceTrainer,
        policy,
        tmp_path / "b",
        False,
        method.trainer(settings),
        policy=policy,
        projector_learning_rate=1e-3,
        data_collator=PreferenceCollator(policy.processor),
        pairwise=method.pairwise(settings),
        by_token=method.by_token,
        distributions=method.distributions,
        other_images=method.other_images,
        weights=method.weights(settings),
        shared=SharedForward(policy) if share else None,
    )
    batch = ours.data_collator(as_made(name, settings))
    theirs = make(DPOTrainer, tiny("llava_next"), tmp_path / "a", False)
    theirs.model.train()
    theirs.model.zero_grad()
    loss = naive(Naive(theirs, batch), batch, theirs)
    plain = torch.stack([-logsigmoid(0.3 * Naive(theirs, batch).margin(n)) for n in range(3)]).mean()
    assert abs(loss.item() - plain.item()) > 1e-4, "or DPO would pass for it"
    loss.backward()
    gradients = {key: p.grad.clone() for key, p in theirs.model.named_parameters() if p.grad is not None}
    assert_equal(step(ours, batch), (loss.item(), gradients))


def weighted(preferences: Path, folder: Path, **columns: Any) -> Path:
    """The same pairs with further columns, made of a row's number."""
    [file] = (preferences / "data").iterdir()
    table = pq.read_table(file)
    for name, value in columns.items():
        table = table.append_column(name, pa.array([value(row) for row in range(len(table))]))
    pq.write_table(table.replace_schema_metadata(None), folder / "weighted.parquet")
    return folder / "weighted.parquet"


def test_a_column_of_the_owners_weighs_pairs_and_stands_in_the_card(preferences: Path, tmp_path: Path) -> None:
    data = weighted(preferences, tmp_path, rejected_score=lambda row: None if row == 0 else 1.0 + row % 3)
    block = {"learning_rate": 1e-3, "max_steps": 2, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 1}
    recipe = TrainRecipe(
        MODEL,
        (str(data),),
        "hsa-dpo",
        lora=LoraSettings(2, 4),
        limit=10,
        trainer=block,
        columns={"severity": "rejected_score"},
    )
    manifest = train(recipe, tmp_path / "run", write_card=write_model_card)
    assert manifest["counts"]["skipped"]["no-weight"] == 1
    assert manifest["weights"]["severity"]["rows"] == manifest["counts"]["rows"]
    assert (manifest["weights"]["severity"]["least"], manifest["weights"]["severity"]["most"]) == (1.0, 3.0)
    assert "weighted by columns of the data: <code>severity</code>" in (tmp_path / "run/README.md").read_text()
    losses = [json.loads(line)["loss"] for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert losses[0] == pytest.approx(math.log(2), rel=1e-4)


def test_noise_is_the_same_after_a_restart(preferences: Path, tmp_path: Path) -> None:
    block = {"learning_rate": 1e-3, "max_steps": 3, "save_steps": 1, "per_device_train_batch_size": 2}
    recipe = TrainRecipe(
        MODEL,
        (str(preferences),),
        "chip",
        lora=LoraSettings(2, 4),
        limit=8,
        trainer={**block, "gradient_accumulation_steps": 2},
    )
    whole, again = whole_and_cut(recipe, tmp_path, 2)
    assert whole["final"] == again["final"]


def test_weights_are_read_only_where_they_are_asked_for(preferences: Path, tmp_path: Path) -> None:
    data = weighted(preferences, tmp_path, hardness=lambda row: row / 10, chosen_weights=lambda _: "no list")
    tables = own_columns([open_table(str(data))], None)
    (tmp_path / "some").mkdir()
    (tmp_path / "none").mkdir()
    pairs = collect_pairs(tables, tmp_path / "some", image_token="<image>", weights=["hardness"])
    assert pairs.weight_facts()["weights"]["hardness"]["rows"] == len(pairs.dataset)
    assert not collect_pairs(tables, tmp_path / "none", image_token="<image>").weight_facts()
    (tmp_path / "bad").mkdir()
    with pytest.raises(InputError, match="bad-weight"):
        collect_pairs(tables, tmp_path / "bad", image_token="<image>", weights=["chosen_weights"])
    (tmp_path / "plain").mkdir()
    spans = ["chosen_weights", "rejected_weights"]
    with pytest.raises(InputError, match=r"No row of .* has any chosen_weights or rejected_weights"):
        collect_pairs([open_table(str(preferences))], tmp_path / "plain", image_token="<image>", weights=spans)


def test_words_that_differ_weigh_more_in_pairs_without_weights(preferences: Path, tmp_path: Path) -> None:
    block = {"learning_rate": 1e-3, "max_steps": 2, "per_device_train_batch_size": 2}
    recipe = TrainRecipe(
        MODEL,
        (str(preferences),),
        "token-dpo",
        lora=LoraSettings(2, 4),
        limit=8,
        trainer=block,
        loss={"segment": 5.0},
    )
    manifest = train(recipe, tmp_path / "run", write_card=write_model_card)
    assert manifest["steps"] == 2
    assert "weighted by columns" not in (tmp_path / "run/README.md").read_text()
    with pytest.raises(InputError, match="has any chosen_weights"):
        train(dataclasses.replace(recipe, loss={}), tmp_path / "plain")


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("severity", 0),
        ("severity", True),
        ("severity", "2"),
        ("hardness", math.nan),
        ("rejected_weights", [{"begin": 3, "end": 3, "weight": 1.0}]),
        ("rejected_weights", [{"begin": 0, "end": 3}]),
        ("rejected_weights", [{"begin": 0.5, "end": 3, "weight": 1.0}]),
        ("rejected_weights", {"begin": 0, "end": 3, "weight": -1.0}),
    ],
)
def test_a_weight_that_cannot_be_is_a_reason(column: str, value: Any) -> None:
    fault = read_weights({column: value}, [column])
    assert isinstance(fault, Fault)
    assert fault.reason == "bad-weight"


def test_a_row_stands_beside_its_neighbour_or_the_next_of_its_question() -> None:
    assert partners(["a", "a", "b", "a", "c", "b"], range(6)) == [1, 0, 5, 0, None, 2]


def test_a_partner_has_another_image() -> None:
    """As in data with several pairs of an image: each answer would be preferred to the other under the same one."""
    images = ["x", "x", "y", "x", "x", "z"]
    assert partners(["a", "a", "a", "b", "b", "a"], images) == [2, 2, 1, None, None, 0]


def test_rows_without_a_partner_are_left_out_and_counted(preferences: Path, tmp_path: Path) -> None:
    pairs = collect_pairs([open_table(str(preferences))], tmp_path, image_token="<image>", limit=6)
    context = SourceContext(None, 0, lambda _: (), data=pairs.dataset)  # type: ignore[arg-type]
    source = PartnerSource(context, None)  # type: ignore[arg-type]
    made = source([{**pairs.dataset[row], ROW: row} for row in range(len(pairs.dataset))], 0)
    assert made.counts["used"] == len(made.rows) > 0
    for row in made.rows:
        turned = row[OTHER_PAIR]
        assert turned["rejected"] == row["chosen"]
        assert turned["chosen"] == row[REJECTED_POLICY]
        assert turned["images"][0].tobytes() != row["images"][0].tobytes()
    asked = pairs.dataset.select([0])
    with pytest.raises(InputError, match="ask the same question"):
        PartnerSource(replace(context, data=asked), None)  # type: ignore[arg-type]
