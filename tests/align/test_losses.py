"""Losses over pairs against TRL's own trainer, or against a naive form: the same loss and gradients, in fp32."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from datasets import Dataset
from trl import DPOTrainer

from mmpref.align.collator import PreferenceCollator
from mmpref.align.method import METHODS
from mmpref.align.pair_log_probs import PairLogProbs
from mmpref.align.preference_data import REJECTED_POLICY, ROW, collect_pairs, with_row_numbers
from mmpref.align.recipe import LoraSettings, TrainRecipe
from mmpref.align.reference_cache import ReferenceLogProbCache
from mmpref.align.summary import remarks_on
from mmpref.align.trainer import PreferenceTrainer
from mmpref.errors import InputError, UsageError
from mmpref.tables.open import open_table
from mmpref.types import ModelRef, context_of, messages, text_of
from mmpref.vlm.load import load_policy
from mmpref.vlm.shared_prefix_forward import SharedForward
from tests.vlm.tiny import tiny

from .conftest import MODEL
from .cut import whole_and_cut
from .test_families import made
from .test_sharing import assert_equal, make, rows, step

SIGMOID: dict[str, Any] = {"loss_type": ["sigmoid"], "beta": 0.1}
TRLS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("dpo", {"f_divergence": "forward_kl"}, {**SIGMOID, "f_divergence_type": "forward_kl"}),
    ("dpo", {"f_divergence": "js_divergence"}, {**SIGMOID, "f_divergence_type": "js_divergence"}),
    (
        "dpo",
        {"f_divergence": "alpha_divergence", "f_alpha": 0.3},
        {**SIGMOID, "f_divergence_type": "alpha_divergence", "f_alpha_divergence_coef": 0.3},
    ),
    ("wpo", {}, {**SIGMOID, "use_weighting": True}),
    ("ld-dpo", {"alpha": 0.2}, {**SIGMOID, "ld_alpha": 0.2}),
    ("robust", {"label_smoothing": 0.2}, {**SIGMOID, "loss_type": ["robust"], "label_smoothing": 0.2}),
    ("exo-pair", {"beta": 0.3}, {"loss_type": ["exo_pair"], "beta": 0.3, "label_smoothing": 1e-3}),
    ("aot", {}, {**SIGMOID, "loss_type": ["aot"]}),
    ("aot-unpaired", {"label_smoothing": 0.1}, {**SIGMOID, "loss_type": ["aot_unpaired"], "label_smoothing": 0.1}),
    ("apo-zero", {}, {**SIGMOID, "loss_type": ["apo_zero"]}),
    ("apo-down", {}, {**SIGMOID, "loss_type": ["apo_down"]}),
    ("discopop", {"tau": 0.2}, {"loss_type": ["discopop"], "beta": 0.05, "discopop_tau": 0.2}),
    ("nca-pair", {}, {"loss_type": ["nca_pair"], "beta": 0.01}),
    ("bco-pair", {}, {"loss_type": ["bco_pair"], "beta": 0.01}),
    ("sppo-hard", {"beta": 0.5}, {"loss_type": ["sppo_hard"], "beta": 0.5}),
    ("sigmoid-norm", {}, {"loss_type": ["sigmoid_norm"], "beta": 5.0}),
]
"""A method, its settings, and the options of TRL's configuration that they stand for."""


@pytest.mark.parametrize(
    ("name", "settings", "options"), TRLS, ids=["-".join([one[0], *map(str, one[1].values())]) for one in TRLS]
)
def test_a_step_of_a_loss_of_trls_is_trls(
    name: str, settings: dict[str, Any], options: dict[str, Any], tmp_path: Path
) -> None:
    theirs = make(DPOTrainer, tiny("llava_next"), tmp_path / "a", False, options)
    expected = step(theirs, theirs.data_collator(rows()))
    policy, method = tiny("llava_next"), METHODS.get(name)
    ours = make(
        PreferenceTrainer,
        policy,
        tmp_path / "b",
        False,
        method.trainer(method.settings(**settings)),
        projector_learning_rate=1e-3,
        data_collator=PreferenceCollator(policy.processor),
        shared=SharedForward(policy),
    )
    assert_equal(step(ours, ours.data_collator(rows())), expected)


def log_probs(trainer: DPOTrainer, of: list[dict[str, Any]]) -> PairLogProbs:
    """By whole sequences and plain logits."""
    batch = trainer.data_collator([dict(row) for row in of])
    mask = batch.pop("completion_mask")[:, 1:].bool()

    def sums() -> tuple[torch.Tensor, ...]:
        logits = trainer.model(**batch).logits[:, :-1].log_softmax(-1)
        return (logits.gather(2, batch["input_ids"][:, 1:, None])[..., 0] * mask).sum(1).chunk(2)

    with torch.no_grad(), trainer.model.disable_adapter():
        reference = sums()
    return PairLogProbs(*sums(), *reference, *mask.sum(1).chunk(2))


def simpo(pairs: PairLogProbs) -> torch.Tensor:
    from trl.experimental.cpo import CPOTrainer

    trainer = SimpleNamespace(
        alpha=0.0, beta=2.0, loss_type="simpo", simpo_gamma=0.7, label_smoothing=0.0, accelerator=pairs.chosen
    )
    averaged = pairs.chosen / pairs.chosen_tokens, pairs.rejected / pairs.rejected_tokens
    losses: torch.Tensor = CPOTrainer.cpo_loss(trainer, *averaged)[0]
    return losses.mean() - 0.3 * pairs.chosen.sum() / pairs.chosen_tokens.sum()


def orpo(pairs: PairLogProbs) -> torch.Tensor:
    from trl.experimental.orpo import ORPOTrainer

    averaged = pairs.chosen / pairs.chosen_tokens, pairs.rejected / pairs.rejected_tokens
    trainer = SimpleNamespace(beta=0.4, accelerator=pairs.chosen)
    ratio: torch.Tensor = ORPOTrainer.odds_ratio_loss(trainer, *averaged)[0]
    return -pairs.chosen.sum() / pairs.chosen_tokens.sum() - ratio.mean()


def kto(pairs: PairLogProbs, drift: float) -> torch.Tensor:
    """Equation 7 of KTO's paper over all answers, by the value function's two branches."""
    values = []
    for chosen, rejected in zip(pairs.chosen_ratio, pairs.rejected_ratio, strict=True):
        values.append(1.5 - 1.5 * torch.sigmoid(0.2 * (chosen - drift)))
        values.append(0.5 - 0.5 * torch.sigmoid(0.2 * (drift - rejected)))
    return torch.stack(values).mean()


OTHERS = ("w2 w9 .", "w1 w1 w2 .", "w12 w3")
"""Answers to other rows."""
LOSSES: dict[str, dict[str, Any]] = {
    "simpo": {"gamma": 0.7, "sft": 0.3},
    "orpo": {"beta": 0.4},
    "kto": {"beta": 0.2, "desirable": 1.5, "undesirable": 0.5},
}


@pytest.mark.parametrize("share", [False, True])
@pytest.mark.parametrize("name", LOSSES)
def test_a_step_of_a_loss_that_trls_trainer_lacks_is_the_naive_one(name: str, share: bool, tmp_path: Path) -> None:
    """Of SimPO and ORPO the last step is TRL's too, from log-probabilities on."""
    theirs = make(DPOTrainer, tiny("llava_next"), tmp_path / "a", False)
    theirs.model.train()
    theirs.model.zero_grad()
    others = [
        {**row, "rejected": [{"role": "assistant", "content": other}]}
        for row, other in zip(rows(), OTHERS, strict=True)
    ]
    drift = log_probs(theirs, others).rejected_ratio.mean().item()
    assert drift > 0.01, "or KTO's bound at 0 would hide it"
    naive = {"simpo": simpo, "orpo": orpo, "kto": lambda pairs: kto(pairs, drift)}
    loss = naive[name](log_probs(theirs, rows()))
    loss.backward()
    gradients = {key: p.grad.clone() for key, p in theirs.model.named_parameters() if p.grad is not None}
    policy, method = tiny("llava_next"), METHODS.get(name)
    settings = method.settings(**LOSSES[name])
    ours = make(
        PreferenceTrainer,
        policy,
        tmp_path / "b",
        False,
        method.trainer(settings),
        projector_learning_rate=1e-3,
        data_collator=PreferenceCollator(policy.processor),
        pairwise=method.pairwise(settings),
        mismatched=method.mismatched,
        reference=ReferenceLogProbCache(tmp_path / "reference.f32", 3, 1 + method.mismatched),
        shared=SharedForward(policy) if share else None,
    )
    numbered = [{**row, ROW: number} for number, row in enumerate(rows())]
    if method.mismatched:
        numbered = [{**row, REJECTED_POLICY: other["rejected"]} for row, other in zip(numbered, others, strict=True)]
    batch = ours.data_collator(numbered)
    assert_equal(step(ours, batch), (loss.item(), gradients))
    assert_equal(step(ours, batch), (loss.item(), gradients))  # with the reference's log-probabilities out of the file
    if method.mismatched:
        assert ours._metrics["train"]["logratios/mismatched"] == pytest.approx([drift, drift], rel=1e-4)
        assert len(ours._metrics["train"]["rewards/rejected"]) == 2, "the other rows' answers are no rejected ones"


FIRST = {
    "tr-dpo": math.log(2),
    "wpo": None,
    "ld-dpo": math.log(2),
    "robust": math.log(2),
    "exo-pair": math.log(0.5) - (math.log(1e-3) + math.log(1 - 1e-3)) / 2,
    "aot": math.log(2),
    "aot-unpaired": math.log(2),
    "apo-zero": 1.0,
    "apo-down": 1.0,
    "discopop": (math.log(2) + 1) / 2,
    "nca-pair": 2 * math.log(2),
    "bco-pair": 2 * math.log(2),
    "sppo-hard": 2 * 500.0**2,
    "sigmoid-norm": math.log(2),
    "simpo": None,
    "orpo": None,
    "kto": 0.5,
    "hsa-dpo": math.log(2),
    "dama": math.log(2),
    "token-dpo": math.log(2),
    "chip": math.log(2),
    "symmpo": 4 * math.log(2),
}
"""The loss while the policy is still the reference: every log-ratio is 0. None where it depends on the model."""


@pytest.mark.parametrize("name", FIRST)
def test_a_loss_trains_two_steps_from_where_it_begins(
    name: str, preferences: Path, doubly_rejected: Path, tmp_path: Path
) -> None:
    data = doubly_rejected if METHODS.get(name).weights_read else preferences
    trainer = made(load_policy(ModelRef(MODEL)), data, tmp_path, name)
    assert trainer.shared is not None  # type: ignore[attr-defined]
    before = {key: value.detach().clone() for key, value in trainer.model.named_parameters() if value.requires_grad}
    trainer.train()
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    assert len(losses) == 2
    assert FIRST[name] is None or losses[0] == pytest.approx(FIRST[name], rel=1e-3)
    after = {key: value for key, value in trainer.model.named_parameters() if key in before}
    assert any(not torch.equal(after[key], before[key]) for key in after if "lora_B" in key)


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("simpo", "ld_alpha", 0.5),
        ("simpo", "use_weighting", True),
        ("simpo", "f_divergence_type", "js_divergence"),
        ("simpo", "label_smoothing", 0.1),
        ("dpo", "label_smoothing", 0.1),
    ],
)
def test_options_that_a_loss_would_leave_out_are_refused(name: str, option: str, value: Any, tmp_path: Path) -> None:
    policy, method = tiny("llava_next"), METHODS.get(name)
    settings = method.settings()
    with pytest.raises(UsageError, match=f"no trainer.{option}"):
        make(
            PreferenceTrainer,
            policy,
            tmp_path,
            False,
            {**method.trainer(settings), option: value},
            projector_learning_rate=1e-3,
            data_collator=PreferenceCollator(policy.processor),
            pairwise=method.pairwise(settings),
        )


MOVING: dict[str, Any] = {"max_steps": 4, "learning_rate": 1e-2, "save_steps": 3, "per_device_train_batch_size": 4}


def test_a_moving_reference_becomes_the_policy_and_survives_a_restart(preferences: Path, tmp_path: Path) -> None:
    """Where it has just become the policy, the loss is that of a policy that is the reference."""
    recipe = TrainRecipe(
        MODEL,
        (str(preferences),),
        "tr-dpo",
        lora=LoraSettings(4, 8),
        projector_learning_rate=1e-2,
        loss={"every": 2},
        trainer={**MOVING, "gradient_accumulation_steps": 1},
    )
    whole, again = whole_and_cut(recipe, tmp_path, 4)
    losses = [json.loads(line)["loss"] for line in (tmp_path / "whole/log.jsonl").read_text().splitlines()]
    assert [loss == pytest.approx(math.log(2), abs=1e-5) for loss in losses] == [True, False, True, False]
    assert again["final"] == whole["final"]
    assert not any("never moves" in remark for remark in whole["remarks"])


def test_a_reference_that_never_moves_is_told(
    preferences: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trainer = made(load_policy(ModelRef(MODEL)), preferences, tmp_path, "tr-dpo")
    trainer.train()
    told = "The reference never moves: loss.every is 512, and the training has 2 steps. This is plain DPO"
    assert any(message.startswith(f"Warning: {told}") for message in caplog.messages)
    assert remarks_on({}, moving=(trainer.facts()["reference_every"], 2))[0].startswith(told)
    assert remarks_on({}, moving=(2, 2))
    assert not remarks_on({}, moving=(1, 2)), "the second step has another reference"


@pytest.mark.parametrize(
    ("name", "settings", "key"),
    [
        *((name, {"beta": 0}, "beta") for name in FIRST),
        *((name, {"beta": math.nan}, "beta") for name in FIRST),
        ("dpo", {"f_alpha": 0.5}, "f_alpha"),
        ("dpo", {"f_divergence": "alpha_divergence", "f_alpha": 1.0}, "f_alpha"),
        ("robust", {"label_smoothing": 0.5}, "label_smoothing"),
        ("exo-pair", {"label_smoothing": 0}, "label_smoothing"),
        ("aot", {"label_smoothing": -0.1}, "label_smoothing"),
        ("ld-dpo", {"alpha": 1.1}, "alpha"),
        ("discopop", {"tau": 0}, "tau"),
        ("tr-dpo", {"every": 0}, "every"),
        ("simpo", {"gamma": -1}, "gamma"),
        ("simpo", {"sft": -1}, "sft"),
        ("kto", {"undesirable": -1}, "undesirable"),
        ("chip", {"noise_steps": 0}, "noise_steps"),
        ("chip", {"segment": -1}, "segment"),
        ("symmpo", {"consistency": -1}, "consistency"),
    ],
)
def test_values_that_cannot_be_are_refused(name: str, settings: dict[str, Any], key: str) -> None:
    with pytest.raises(UsageError, match=rf"loss\.{key} is"):
        METHODS.get(name).settings(**settings)


def test_every_row_gets_an_answer_to_the_next_one() -> None:
    def answer(text: str) -> list[dict[str, str]]:
        return [{"role": "assistant", "content": text}]

    prompt = [{"role": "user", "content": "What is it?"}]
    pairs = [{"prompt": prompt, "chosen": answer(f"c{row}"), "rejected": answer(f"r{row}")} for row in range(3)]
    data = Dataset.from_list(pairs)
    others = [row[REJECTED_POLICY] for row in with_row_numbers(data, mismatched=True)]
    assert others == [answer("c1"), answer("r2"), answer("c0")]
    assert REJECTED_POLICY not in with_row_numbers(data)[0]
    with pytest.raises(InputError, match="at least two rows"):
        with_row_numbers(data.select([0]), mismatched=True)


def test_an_answer_to_another_row_is_of_the_rows_kind(contexts: Path, tmp_path: Path) -> None:
    """A whole answer behind a context, and half a sentence as an answer, would say nothing of the policy's drift."""
    data = collect_pairs([open_table(str(contexts))], tmp_path, image_token="<image>").dataset
    answers = {
        continued: {
            text_of(row[name]) for row in data for name in ("chosen", "rejected") if continues(row) is continued
        }
        for continued in (True, False)
    }
    assert not answers[True] & answers[False]
    rows = list(with_row_numbers(data, mismatched=True))
    assert {continues(row) for row in rows} == {True, False}
    for row in rows:
        other = text_of(row[REJECTED_POLICY])
        assert other in answers[continues(row)]
        assert other not in {text_of(row["chosen"]), text_of(row["rejected"])}
    alone = [number for number, row in enumerate(rows) if continues(row)] + [
        next(number for number, row in enumerate(rows) if not continues(row))
    ]
    with pytest.raises(InputError, match="at least two rows with whole answers"):
        with_row_numbers(data.select(alone), mismatched=True)


def continues(row: dict[str, Any]) -> bool:
    return bool(context_of(messages(row["prompt"])))
