"""What is logged as rewards is what the method's own loss holds answers to be worth, of all methods over pairs, against
the same from plain logits."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn.functional import logsigmoid

from mmpref.align.collator import SECOND_BATCH, PreferenceCollator
from mmpref.align.method import METHODS
from mmpref.align.pair_source import under_other_images
from mmpref.align.preference_data import OTHER_PAIR, REJECTED_POLICY, ROW
from mmpref.align.trainer import PreferenceTrainer
from mmpref.vlm.shared_prefix_forward import SharedForward
from tests.vlm.tiny import tiny

from .test_sharing import make, rows, step
from .test_weights import SEVERITIES, TOKENS, Naive, as_made, by_segment

Rewards = list[tuple[float, float]]
"""Of the chosen and of the rejected answer of every pair."""


def each(of: Callable[[torch.Tensor], Any]) -> Callable[[Naive], Rewards]:
    """A reward of the tokens' log-ratios [T] of an answer."""
    return lambda own: [(float(of(own.ratios[n])), float(of(own.ratios[n + 3]))) for n in range(3)]


def dpos(beta: float) -> Callable[[Naive], Rewards]:
    return each(lambda ratios: beta * ratios.sum())


def cut_off(own: Naive) -> Rewards:
    """LD-DPO's, at beta 0.3 and alpha 0.2."""
    sums = []
    for n in range(3):
        pair = own.ratios[n], own.ratios[n + 3]
        shorter = min(map(len, pair))
        chosen, rejected = (float(0.3 * (one[:shorter].sum() + 0.2 * one[shorter:].sum())) for one in pair)
        sums.append((chosen, rejected))
    return sums


def severe(own: Naive) -> Rewards:
    return [(float(0.3 * own.ratios[n].sum()), float(0.3 * SEVERITIES[n] * own.ratios[n + 3].sum())) for n in range(3)]


def hard(own: Naive) -> Rewards:
    mean = 1 / (1 + math.exp(-sum(SEVERITIES) / 3))
    betas = [0.3 / (1 + math.exp(-value)) / mean for value in SEVERITIES]
    return [(float(b * own.ratios[n].sum()), float(b * own.ratios[n + 3].sum())) for n, b in enumerate(betas)]


def weighed(own: Naive) -> Rewards:
    made = []
    for n, weights in enumerate(TOKENS):
        rejected = own.ratios[n + 3]
        by_word = torch.tensor([*weights, *[1] * (len(rejected) - len(weights))]) * rejected
        made.append((float(0.3 * own.ratios[n].sum()), float(0.3 * by_word.sum())))
    return made


def segmented(own: Naive) -> Rewards:
    """CHiP's, at beta 0.3, segment 3 and token 0.2."""
    made = []
    for n in range(3):
        chosen, rejected = by_segment(own, n, own.ratios[n], own.ratios[n + 3])
        made.append((float(0.3 * (chosen + 0.2 * own.kl[n])), float(0.3 * (rejected + 0.2 * own.kl[n + 3]))))
    return made


def averaged(own: Naive) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities a token of chosen and rejected answers."""
    chosen, rejected = torch.stack([one.mean() for one in own.log_probs]).chunk(2)
    return chosen, rejected


def pairs_of(rewards: tuple[torch.Tensor, torch.Tensor]) -> Rewards:
    return list(zip(*(one.tolist() for one in rewards), strict=True))


def trls_simpo(own: Naive) -> Rewards:
    from trl.experimental.cpo import CPOTrainer

    device = SimpleNamespace(device="cpu")
    trainer = SimpleNamespace(
        alpha=0.0, beta=2.0, loss_type="simpo", simpo_gamma=0.7, label_smoothing=0.0, accelerator=device
    )
    return pairs_of(CPOTrainer.cpo_loss(trainer, *averaged(own))[1:])


def trls_orpo(own: Naive) -> Rewards:
    from trl.experimental.orpo import ORPOTrainer

    trainer = SimpleNamespace(beta=0.4, accelerator=SimpleNamespace(device="cpu"))
    return pairs_of(ORPOTrainer.odds_ratio_loss(trainer, *averaged(own))[1:3])


IPO = {"kind": "ipo", "beta": 0.9}
BY_TOKEN = each(lambda ratios: 0.9 * ratios.mean())
DEFAULT = {
    **dict.fromkeys(["slic", "mpo", "mdpo", "c-dpo", "tr-dpo", "wpo", "kto", "robust", "aot", "aot-unpaired"], 0.1),
    **dict.fromkeys(["exo-pair", "apo-zero", "apo-down", "symmpo"], 0.1),
    **{"discopop": 0.05, "nca-pair": 0.01, "bco-pair": 0.01, "sppo-hard": 0.001},
}
"""Those whose reward is DPO's, with their own beta."""
CASES: list[tuple[str, dict[str, Any], Callable[[Naive], Rewards]]] = [
    *((name, {}, dpos(beta)) for name, beta in DEFAULT.items()),
    ("dpo", {"beta": 0.3}, dpos(0.3)),
    ("dpo", {"f_divergence": "forward_kl"}, each(lambda r: 0.1 * (1 - 1 / r.sum().exp()))),
    ("dpo", {"f_divergence": "js_divergence"}, each(lambda r: 0.1 * (2 * r.sum().sigmoid()).log())),
    (
        "dpo",
        {"f_divergence": "alpha_divergence", "f_alpha": 0.3},
        each(lambda r: 0.1 * (r.sum().exp() ** -0.7 - 1) / -0.7),
    ),
    ("ipo", {"beta": 0.9}, BY_TOKEN),
    ("ipo", {"beta": 0.9, "summed": True}, dpos(0.9)),
    ("sigmoid-norm", {}, each(lambda ratios: 5 * ratios.mean())),
    ("ld-dpo", {"beta": 0.3, "alpha": 0.2}, cut_off),
    ("simpo", {"gamma": 0.7}, trls_simpo),
    ("orpo", {"beta": 0.4}, trls_orpo),
    ("sft", {}, dpos(0.1)),
    ("hsa-dpo", {"beta": 0.3}, severe),
    ("dama", {"beta": 0.3}, hard),
    ("token-dpo", {"beta": 0.3}, weighed),
    ("chip", {"beta": 0.3, "segment": 3.0, "token": 0.2}, segmented),
    *((name, {}, dpos(0.1)) for name in ("avg-dpo", "online-dpo", "mixed-dpo", "online-bdhs", "povid")),
    *((name, IPO, BY_TOKEN) for name in ("avg-dpo", "online-dpo", "mixed-dpo", "online-bdhs", "povid")),
]


def given(name: str, settings: Any) -> list[dict[str, Any]]:
    """Rows as the method's trainer collates them: their pairs as the method's source or the data have them."""
    method = METHODS.get(name)
    if name in ("hsa-dpo", "dama", "token-dpo", "chip", "symmpo"):
        return as_made(name, settings)
    made = [{**row, ROW: number} for number, row in enumerate(rows())]
    if method.other_images:
        made = [{**row, OTHER_PAIR: under_other_images(row, row["images"])} for row in made]
    if len(method.weights(settings)) + method.mismatched > 1:
        others = [*made[1:], made[0]]
        made = [{**row, REJECTED_POLICY: other["chosen"]} for row, other in zip(made, others, strict=True)]
    return made


def one_step(name: str, values: dict[str, Any], folder: Path, share: bool) -> tuple[PreferenceTrainer, dict[str, Any]]:
    """A trainer that has taken a step, and the step's batch."""
    policy, method = tiny("llava_next"), METHODS.get(name)
    needs_somebody = {"annotator": "nobody"} if "annotator" in method.settings.__dataclass_fields__ else {}
    settings = method.settings(**{**needs_somebody, **values})
    trainer = make(
        PreferenceTrainer,
        policy,
        folder,
        False,
        method.trainer(settings),
        policy=policy,
        projector_learning_rate=1e-3,
        data_collator=PreferenceCollator(policy.processor, ends=method.ends(settings)),
        pairwise=method.pairwise(settings),
        reward=method.reward(settings),
        terms=method.terms(settings) if method.terms else None,
        mismatched=method.mismatched,
        by_token=method.by_token,
        distributions=method.distributions,
        other_images=method.other_images,
        weights=method.weights(settings),
        shared=SharedForward(policy) if share else None,
    )
    assert isinstance(trainer, PreferenceTrainer)
    batch = trainer.data_collator(given(name, settings))
    step(trainer, batch)
    return trainer, batch


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    CASES,
    ids=["-".join([case[0], *map(str, case[1].values())]) for case in CASES],
)
def test_what_is_logged_is_what_the_loss_holds_answers_to_be_worth(
    name: str, values: dict[str, Any], expected: Callable[[Naive], Rewards], tmp_path: Path
) -> None:
    """Where rows have two rejected answers, of both pairs in the mean."""
    trainer, batch = one_step(name, values, tmp_path, share=True)
    logged = trainer._metrics["train"]
    batches = [batch, *([batch[SECOND_BATCH]] if len(trainer._weights) > 1 else [])]
    for number, one in enumerate(batches):
        with torch.no_grad():
            rewards = expected(Naive(trainer, one))
        margins = [chosen - rejected for chosen, rejected in rewards]
        assert min(map(abs, margins)) > 1e-6, "or the accuracy would be anybody's"
        means = {
            "chosen": [chosen for chosen, _ in rewards],
            "rejected": [rejected for _, rejected in rewards],
            "margins": margins,
            "accuracies": [float(margin > 0) for margin in margins],
        }
        for key, values_ in means.items():
            assert logged[f"rewards/{key}"][number] == pytest.approx(sum(values_) / 3, rel=2e-4, abs=1e-6), key
            assert len(logged[f"rewards/{key}"]) == len(batches)


def test_every_method_over_pairs_is_among_them() -> None:
    assert {name for name, _, _ in CASES} == {name for name in METHODS.names() if METHODS.get(name).build is None}


LOSSES: dict[str, tuple[dict[str, Any], Callable[[torch.Tensor], torch.Tensor]]] = {
    "dpo": ({"beta": 0.3}, lambda margin: -logsigmoid(margin)),
    "dpo js": ({"f_divergence": "js_divergence"}, lambda margin: -logsigmoid(margin)),
    "dpo forward": ({"f_divergence": "forward_kl"}, lambda margin: -logsigmoid(margin)),
    "dpo alpha": ({"f_divergence": "alpha_divergence"}, lambda margin: -logsigmoid(margin)),
    "sigmoid-norm": ({}, lambda margin: -logsigmoid(margin)),
    "ld-dpo": ({}, lambda margin: -logsigmoid(margin)),
    "token-dpo": ({"segment": 2.0}, lambda margin: -logsigmoid(margin)),
    "slic": ({}, lambda margin: (1 - margin).clamp(min=0)),
    "ipo": ({"beta": 0.9}, lambda margin: (margin / 0.9 - 1 / 1.8) ** 2),
    "simpo": ({"gamma": 0.7}, lambda margin: -logsigmoid(margin - 0.7)),
    "chip": ({"visual": 0.0}, lambda margin: -logsigmoid(margin)),
}
"""Losses that are of the margin alone."""


@pytest.mark.parametrize("name", LOSSES)
def test_the_loss_of_a_pair_is_of_its_logged_margin(name: str, tmp_path: Path) -> None:
    values, loss = LOSSES[name]
    trainer, _ = one_step(name.split()[0], values, tmp_path, share=False)
    [row] = given(name.split()[0], METHODS.get(name.split()[0]).settings(**values))[1:2]
    trainer._metrics["train"].clear()
    got, _ = step(trainer, trainer.data_collator([row]))
    [margin] = trainer._metrics["train"]["rewards/margins"]
    assert got == pytest.approx(float(loss(torch.tensor(margin))), rel=1e-4)
    assert trainer._metrics["train"]["rewards/accuracies"] == [float(margin > 0)]


def test_the_manifest_says_what_is_logged(tmp_path: Path) -> None:
    trainer, _ = one_step("simpo", {}, tmp_path, share=True)
    assert trainer.facts()["logged_reward"] == "beta (2) times the mean log-probability a token"
