"""Every TRL option is reachable; what mmpref decides is refused by name; typos get a suggestion."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path
from typing import Any

import pytest

from mmpref.align import trl_names, trl_options
from mmpref.align.method import METHODS
from mmpref.errors import UsageError

DPO = {"loss_type": ["sigmoid"], "beta": 0.2}


def resolved(**trainer: Any) -> dict[str, Any]:
    return trl_options.resolve(trainer, DPO, seed=7, dtype="float32", dropout=False)


def test_the_block_reaches_trl(tmp_path: Path) -> None:
    config = trl_options.config(resolved(learning_rate=5e-6, warmup_steps=3, ld_alpha=0.5, logging_steps=4), tmp_path)
    assert (config.learning_rate, config.warmup_steps, config.ld_alpha, config.logging_steps) == (5e-6, 3, 0.5, 4)
    assert (config.beta, config.loss_type, config.seed) == (0.2, ["sigmoid"], 7)


def test_trl_defaults_that_hurt_are_off(tmp_path: Path) -> None:
    config = trl_options.config(resolved(), tmp_path)
    assert config.max_length is None
    assert (config.bf16, config.gradient_checkpointing) == (False, False)
    assert config.report_to == []


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"learning_rat": 1}, "Did you mean 'learning_rate'"),
        ({"max_length": 512}, "nothing is cut"),
        ({"seed": 1}, "use --seed"),
        ({"output_dir": "x"}, "use --output"),
        ({"hub_model_id": "me/x"}, "--hub-model-id"),
        ({"beta": 0.3}, "loss.KEY=VALUE"),
        ({"save_total_limit": 1}, "at least 2"),
        ({"eval_strategy": "steps"}, "Watch a benchmark: --eval-benchmark=NAME"),
        ({"load_best_model_at_end": True}, "--best to keep the best step"),
        ({"sync_ref_model": True}, "Use --method=tr-dpo"),
        ({"save_only_model": True}, "begin its optimizer and its schedule anew"),
        ({"ignore_data_skip": True}, "train on its first rows again"),
        ({"auto_find_batch_size": True}, "Set --batch-size=NUMBER"),
        ({"neftune_noise_alpha": 5.0}, "the reference's answers among it"),
    ],
)
def test_refused(block: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        trl_options.check(block, DPO)
    assert message in str(caught.value)


@pytest.mark.parametrize("method", METHODS.names())
def test_what_trl_does_anyway_can_be_said(method: str) -> None:
    """As recipes do that hold the whole configuration of another run."""
    kind = METHODS.get(method).config()
    defaults = {field.name: field.default for field in dataclasses.fields(kind)}
    said = {name: defaults[name] for name in trl_options._OTHER_THAN_DEFAULT if name in defaults}
    assert {"save_only_model", "ignore_data_skip", "auto_find_batch_size"} <= said.keys()
    trl_options.check({**said, "eval_strategy": "no"}, {}, kind)


@pytest.mark.parametrize(
    ("block", "batches"),
    [
        ({"num_iterations": 2}, 4),
        ({"steps_per_generation": 4}, 4),
        ({"generation_batch_size": 16}, 4),
        ({"num_iterations": 2, "steps_per_generation": 1}, None),
        ({"steps_per_generation": 1}, None),
        ({}, None),
    ],
)
def test_answers_that_several_steps_share_are_refused(
    block: dict[str, Any], batches: int | None, tmp_path: Path
) -> None:
    """A run that resumes between these steps would sample others."""
    options = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "num_generations": 2, **block}
    refused = pytest.raises(UsageError, match=f"for {batches} batches, and a step has 2")
    with refused if batches else contextlib.nullcontext():
        trl_options.config({**options, "use_cpu": True}, tmp_path, METHODS.get("rloo").config())


def test_the_names_that_the_source_text_has_are_those_that_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    assert sorted(trl_names.dpo_names()) == sorted(trl_options.names(METHODS.get("dpo").config()))
    unlike = [*trl_names._SOURCES[:-1], ("trl", "trainer/dpo_config.py", "RenamedConfig")]
    between = [trl_names._SOURCES[0], trl_names._SOURCES[-1]]  # of a class that stands there, options are not known
    for sources in (unlike, between, [("no_such_package_at_all", "a.py", "A")], [("trl", "none.py", "A")]):
        monkeypatch.setattr(trl_names, "_SOURCES", sources)
        assert trl_names.dpo_names.__wrapped__() == (), "then only the import tells"


def test_beside_a_gpu_processes_make_batches_in_pinned_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    here = resolved()
    assert (here["dataloader_num_workers"], here["dataloader_pin_memory"]) == (0, False)
    assert "accelerator_config" not in here
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("mmpref.workers.os.sched_getaffinity", lambda _: set(range(16)), raising=False)
    there = resolved()
    assert (there["dataloader_num_workers"], there["dataloader_pin_memory"]) == (4, True)
    assert there["accelerator_config"] == {"non_blocking": True}
    assert resolved(dataloader_num_workers=1)["dataloader_num_workers"] == 1


def test_what_trl_refuses_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="TRL refuses"):
        trl_options.config(resolved(lr_scheduler_type="no-such-schedule"), tmp_path)


def test_dropout_reaches_the_model() -> None:
    assert trl_options.resolve({}, DPO, seed=0, dtype="float32", dropout=True)["disable_dropout"] is False
    with pytest.raises(UsageError, match="contradict"):
        trl_options.resolve({"disable_dropout": True}, DPO, seed=0, dtype="float32", dropout=True)


def test_methods_are_listed_and_checked() -> None:
    assert "dpo" in METHODS.names()
    assert METHODS.summary("dpo").startswith("Direct preference optimisation")
    method = METHODS.get("dpo")
    reverse_kl = {"f_divergence_type": "reverse_kl", "f_alpha_divergence_coef": 0.5}
    assert method.trainer(method.settings(beta=0.3)) == {"loss_type": ["sigmoid"], "beta": 0.3, **reverse_kl}
    with pytest.raises(UsageError, match="above 0"):
        method.settings(beta=0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_steps", "abc"),
        ("max_steps", True),
        ("max_steps", 2.5),
        ("learning_rate", "fast"),
        ("learning_rate", -1e-4),
        ("num_train_epochs", -1),
        ("per_device_train_batch_size", 0),
        ("gradient_accumulation_steps", 0),
        ("save_total_limit", "few"),
        ("eval_steps", "often"),
        ("gradient_checkpointing", "maybe"),
        ("use_cpu", 3),
    ],
)
def test_values_that_trl_would_trip_over_later_are_refused(name: str, value: object) -> None:
    with pytest.raises(UsageError, match=rf"trainer\.{name} is"):
        trl_options.check({name: value}, {})


def test_numbers_are_taken_in_either_form() -> None:
    trl_options.check({"num_train_epochs": 1, "learning_rate": 1e-5, "save_steps": 0.5, "max_steps": 3}, {})
    trl_options.check(
        {
            "eval_strategy": "no",
            "do_eval": False,
            "save_total_limit": None,
            "eval_steps": None,
            "bf16": None,
            "use_cpu": True,
        },
        {},
    )
