"""Methods that draw their pairs from the current policy: fresh at every step, by what the image shows, bit for bit."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from mmpref.align.method import METHODS
from mmpref.align.pair_source import SourceContext
from mmpref.align.preference_data import REJECTED_POLICY, ROW
from mmpref.align.recipe import LoraSettings, TrainRecipe
from mmpref.align.train import train
from mmpref.errors import InputError, RunError, UsageError
from mmpref.images import decode
from mmpref.judges.annotator import Comparison, Verdict
from mmpref.judges.resolve import open_annotator
from mmpref.recipes import schema as recipes
from mmpref.testbed.language import CAPTION_PROMPTS, caption
from mmpref.testbed.render import png
from mmpref.testbed.world import scene
from mmpref.types import ImageData, ModelRef
from mmpref.vlm.load import load_policy
from mmpref.vlm.policy import Policy

from .conftest import MODEL
from .cut import whole_and_cut

LOSS: dict[str, Any] = {"temperature": 1.5, "max_answer_tokens": 48}
RANKED = ("online-dpo", "mixed-dpo")
BDHS: dict[str, Any] = {"similarity_model": "pkg:mmpref.testbed/embedder", "max_tail_tokens": 24}
LOSSES: dict[str, dict[str, Any]] = {
    "online-dpo": LOSS,
    "mixed-dpo": LOSS,
    "online-bdhs": {"bdhs": BDHS, "kind": "ipo"},
    "povid": {"noise_steps": 900},
    "mdpo": {},
}
"""Each method with settings under which the testbed's model writes something else."""
AVERAGED: dict[str, dict[str, Any]] = {
    "online-bdhs": {"bdhs": BDHS, "gamma": 0.5},
    "povid": {"noise_steps": 900, "gamma": 0.3},
}


SHORT = {"learning_rate": 1e-3, "max_steps": 2, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 1}


def recipe(method: str, data: Path, **changes: Any) -> TrainRecipe:
    trainer = {
        "learning_rate": 1e-3,
        "max_steps": 4,
        "per_device_train_batch_size": 8,
        "gradient_accumulation_steps": 1,
        "save_steps": 2,
    }
    settings: dict[str, Any] = {"lora": LoraSettings(4, 8), "trainer": trainer, "loss": LOSSES.get(method, {})}
    if method in RANKED:
        settings["annotator"] = "testbed-oracle"
    return TrainRecipe(MODEL, (str(data),), method, **{**settings, **changes})


def log_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load_policy(ModelRef(MODEL))


def rows_and_images(count: int, shown: list[int] | None = None) -> tuple[list[dict[str, Any]], list[ImageData]]:
    """Caption rows; ``shown`` says which scene's image each has."""
    rows, images = [], []
    for number in range(count):
        image = ImageData(png(scene("test", number if shown is None else shown[number])))
        images.append(image)
        rows.append(
            {
                ROW: number,
                "images": [decode(image)],
                "prompt": [{"role": "user", "content": CAPTION_PROMPTS[0]}],
                "chosen": [{"role": "assistant", "content": caption(scene("test", number))}],
                "rejected": [{"role": "assistant", "content": "There is a cup and a fork at the back."}],
            }
        )
    return rows, images


def source_of(method: str, policy: Policy, images: list[ImageData], annotator: Any = None, **settings: Any) -> Any:
    made = METHODS.get(method)
    assert made.source is not None
    context = SourceContext(policy, 0, lambda row: (images[row],), annotator or open_annotator("testbed-oracle"))
    return made.source(context, recipes.build(made.settings, {**LOSSES[method], **settings}))


@pytest.mark.long
@pytest.mark.parametrize(("method", "loss"), [*LOSSES.items(), *AVERAGED.items()])
def test_a_method_trains_and_resumes_bit_for_bit(
    method: str, loss: dict[str, Any], preferences: Path, tmp_path: Path
) -> None:
    asked = recipe(method, preferences, loss=loss)
    whole, again = whole_and_cut(asked, tmp_path)
    timings = ("train_runtime",)
    rows = [
        [{key: value for key, value in row.items() if key not in timings} for row in log_of(tmp_path / name)]
        for name in ("whole", "cut")
    ]
    assert rows[0] == rows[1]
    assert again.get("drawn") == whole.get("drawn")
    if method == "mdpo":
        assert "drawn" not in whole
        return
    counts = whole["drawn"]
    assert counts["rows"] == 32
    assert counts["used"] > 4
    if method in RANKED:
        offline = counts.get("offline", 0)
        assert counts["rows"] == offline + counts["same"] + counts["unfinished"] + counts["comparisons"]
        assert counts["used"] == offline + counts["agreed"]
    else:
        left_out = 0 if method == "povid" or "gamma" in loss else counts["same"] + counts["empty"]
        assert counts["used"] == counts["rows"] - left_out
        assert counts["same"] + counts["empty"] < counts["rows"]


@pytest.mark.long
def test_uneven_steps_resume_bit_for_bit(preferences: Path, tmp_path: Path) -> None:
    """Micro-batches of one row, some without a pair; log rows and checkpoints fall on different steps."""
    trainer = {
        "learning_rate": 1e-3,
        "max_steps": 4,
        "per_device_train_batch_size": 1,
        "save_steps": 2,
        "gradient_accumulation_steps": 2,
        "logging_steps": 3,
    }
    loss = {**LOSS, "offline": 0.5, "max_answer_tokens": 8}  # at which no answer comes to an end
    whole, _ = whole_and_cut(recipe("mixed-dpo", preferences, trainer=trainer, loss=loss), tmp_path)
    assert 0 < whole["drawn"]["used"] < whole["drawn"]["rows"] == 8
    assert log_of(tmp_path / "whole") == log_of(tmp_path / "cut")


@pytest.mark.parametrize("method", ["online-dpo", "online-bdhs", "povid"])
def test_every_step_draws_anew_and_the_batch_does_not_matter(method: str, policy: Policy) -> None:
    rows, images = rows_and_images(4)
    source = source_of(method, policy, images, **({"gamma": 0} if method == "povid" else {}))
    first = source(rows, 0)
    assert first.rows
    assert [row["chosen"] for row in source(rows, 0).rows] == [row["chosen"] for row in first.rows]
    alone = [row for one in rows for row in source([one], 0).rows]
    assert [(row[ROW], row["chosen"], row["rejected"]) for row in alone] == [
        (row[ROW], row["chosen"], row["rejected"]) for row in first.rows
    ]
    later = source(rows, 1)
    assert {str(row["rejected"]) for row in later.rows} != {str(row["rejected"]) for row in first.rows}
    assert first.counts["used"] == len(first.rows)


@pytest.mark.parametrize("method", ["online-bdhs", "povid"])
def test_averaged_rows_keep_the_datas_answers_and_get_the_policys_beside(method: str, policy: Policy) -> None:
    rows, images = rows_and_images(8)
    averaged = source_of(method, policy, images, gamma=0.5)(rows, 0)
    alone = source_of(method, policy, images, gamma=0)(rows, 0)
    assert [(row["chosen"], row["rejected"]) for row in averaged.rows] == [
        (row["chosen"], row["rejected"]) for row in rows
    ]
    written = {row[ROW]: row["rejected"] for row in alone.rows}
    assert written
    for row in averaged.rows:
        assert row[REJECTED_POLICY] == written.get(row[ROW], row["chosen"])
    assert alone.counts["same"] + alone.counts["empty"] == len(rows) - len(alone.rows)


def test_online_bdhs_is_the_datasets_method_on_the_current_policy(policy: Policy) -> None:
    """The same sampler, and what it writes follows the weights."""
    from mmpref.sampling.bdhs import BdhsSampler
    from mmpref.sampling.settings import BdhsSettings
    from mmpref.sampling.similarity import load_similarity

    rows, images = rows_and_images(4)
    drawn = source_of("online-bdhs", policy, images)(rows, 3)
    examples = [SourceContext(policy, 0, lambda row: (images[row],)).example(row, 3) for row in rows]
    settings = BdhsSettings(**BDHS)
    made = BdhsSampler(policy, load_similarity(settings.similarity_model), settings, 0)(examples)
    assert [row["rejected"][0]["content"] for row in drawn.rows] == [
        one.answer for one, row in zip(made, rows, strict=True) if one.answer != row["chosen"][0]["content"]
    ]
    assert drawn.counts["tries"] == sum(one.iterations for one in made)
    other = load_policy(ModelRef(MODEL))
    with torch.no_grad():
        for parameter in other.decoder.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
    changed = source_of("online-bdhs", other, images)(rows, 3)
    assert [row["rejected"] for row in changed.rows] != [row["rejected"] for row in drawn.rows]


class Recording:
    """Prefers the first answer, and keeps what it was shown."""

    def __init__(self) -> None:
        self.seen: list[Comparison] = []

    def compare(self, comparisons: list[Comparison]) -> list[Verdict]:
        self.seen += comparisons
        return [Verdict("first", "agreed") for _ in comparisons]


def test_samples_see_the_image_and_hold_no_image_token(policy: Policy) -> None:
    """Another image, other answers; and whoever judges is shown the very bytes of the data's image."""
    drawn = []
    for shown in ([0, 1, 2, 3], [4, 5, 6, 7]):
        rows, images = rows_and_images(4, shown)
        annotator = Recording()
        source_of("online-dpo", policy, images, annotator, temperature=0.2)(rows, 0)
        source_of("online-dpo", policy, images, annotator, temperature=2.0)(rows, 1)
        assert {one.images[0] for one in annotator.seen} <= set(images)
        drawn.append([(one.first, one.second) for one in annotator.seen])
        token = policy.tokenizer.convert_ids_to_tokens(policy.image_token_id)
        assert not any(token in one.first + one.second for one in annotator.seen)
    assert drawn[0] != drawn[1]


def test_what_cannot_be_told_apart_is_counted_not_trained_on(policy: Policy) -> None:
    class Undecided:
        def compare(self, comparisons: list[Comparison]) -> list[Verdict]:
            kinds = ("tie", "missing")
            return [Verdict(None, kinds[n % 2]) for n, _ in enumerate(comparisons)]  # type: ignore[arg-type]

    rows, images = rows_and_images(8)
    drawn = source_of("online-dpo", policy, images, Undecided())(rows, 0)
    assert drawn.rows == []
    assert drawn.counts["tie"] + drawn.counts["missing"] + drawn.counts["same"] + drawn.counts["unfinished"] == 8
    assert drawn.counts["missing"] > 0
    drawn = source_of("online-dpo", policy, images, max_answer_tokens=3)(rows, 0)
    assert drawn.counts["unfinished"] == 8


def test_mixed_takes_the_datas_pair_with_its_probability(policy: Policy) -> None:
    rows, images = rows_and_images(40)
    assert source_of("mixed-dpo", policy, images, offline=0.0)(rows[:8], 0).counts["offline"] == 0
    assert source_of("mixed-dpo", policy, images, offline=1.0)(rows, 0).counts["offline"] == 40
    drawn = source_of("mixed-dpo", policy, images)(rows, 0)
    assert 8 < drawn.counts["offline"] < 32
    kept = [row for row in drawn.rows if row["rejected"] == rows[0]["rejected"]]
    assert len(kept) == drawn.counts["offline"]
    assert [row[ROW] for row in drawn.rows] == sorted(row[ROW] for row in drawn.rows)
    again = source_of("mixed-dpo", policy, images)(rows[:20], 0)
    first = [row[ROW] for row in drawn.rows if row[ROW] < 20]
    assert [row[ROW] for row in again.rows] == first


def never(*_: object) -> int:
    return 0


def test_a_training_without_any_pair_is_an_error(
    preferences: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undecided = recipe("online-dpo", preferences, annotator="tests.align.test_online:never")
    with pytest.raises(RunError, match=r"^No step gave a pair: .*tie"):
        train(undecided, tmp_path / "short")
    monkeypatch.setattr("mmpref.align.trainer._MAX_EMPTY_BATCHES", 3)
    with pytest.raises(RunError, match=r"last 3 batches gave no pair; the last one: .*tie"):
        train(undecided, tmp_path / "run")


def test_what_gave_no_pair_is_mended_by_the_methods_own_settings(preferences: Path, tmp_path: Path) -> None:
    bdhs = {**LOSSES["online-bdhs"]["bdhs"], "keep_cut_off": False, "guidance": False, "max_answer_tokens": 1}
    with pytest.raises(RunError, match=r"^No step gave a pair: .*cut_off") as told:
        train(recipe("online-bdhs", preferences, loss={"bdhs": bdhs}), tmp_path / "run")
    hint = str(told.value.hint)
    assert re.findall(r"loss\.(\S+)=", hint) == ["bdhs.max_tail_tokens", "bdhs.max_answer_tokens", "bdhs.temperature"]
    assert "annotator" not in hint


def fails_late(images: list[Image.Image], prompt: str, first: str, second: str) -> int:
    assert images
    if fails_late.calls > 7:  # type: ignore[attr-defined]
        raise ConnectionError("the annotator is gone")
    fails_late.calls += 1  # type: ignore[attr-defined]
    return 1 if len(first) > len(second) else 2


fails_late.calls = 0  # type: ignore[attr-defined]


def test_an_annotator_that_dies_leaves_the_last_checkpoint(preferences: Path, tmp_path: Path) -> None:
    trainer = {
        "learning_rate": 1e-3,
        "max_steps": 3,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 1,
        "save_steps": 1,
    }
    dying = recipe("online-dpo", preferences, annotator="tests.align.test_online:fails_late", trainer=trainer)
    with pytest.raises(Exception, match="the annotator is gone"):
        train(dying, tmp_path / "run")
    fails_late.calls = -1000  # type: ignore[attr-defined]
    assert train(dying, tmp_path / "run")["steps"] == 3
    assert len(log_of(tmp_path / "run")) == 3


def test_gradient_checkpointing_and_other_losses(preferences: Path, tmp_path: Path) -> None:
    trainer = {**SHORT, "gradient_checkpointing": True}
    loss = {**LOSS, "kind": "hinge"}
    manifest = train(recipe("online-dpo", preferences, trainer=trainer, loss=loss), tmp_path / "run")
    assert manifest["trainer"]["loss_type"] == ["hinge"]
    assert manifest["drawn"]["used"] > 0
    assert torch.is_grad_enabled()


@pytest.mark.parametrize(
    "loss", [{"temperature": 0}, {"beta": 0}, {"max_answer_tokens": 0}, {"instruction": "{prompt}"}, {"kind": "other"}]
)
def test_settings_that_make_no_sense(loss: dict[str, Any], preferences: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        train(recipe("online-dpo", preferences, loss=loss), tmp_path / "run")


def test_the_annotator_belongs_to_methods_that_ask(preferences: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="needs an annotator"):
        train(recipe("online-dpo", preferences, annotator=None), tmp_path / "run")
    with pytest.raises(UsageError, match="asks no annotator"):
        train(recipe("dpo", preferences, annotator="testbed-oracle"), tmp_path / "run")


@pytest.mark.parametrize(
    ("method", "columns"), [("online-dpo", ("prompt",)), ("online-bdhs", ("prompt", "completion"))]
)
def test_rows_need_no_answers_that_a_method_writes_itself(
    method: str, columns: tuple[str, ...], preferences: Path, tmp_path: Path
) -> None:
    import pyarrow.parquet as pq

    [file] = (preferences / "data").iterdir()
    rows = pq.read_table(file)
    rows = rows.rename_columns(["completion" if name == "chosen" else name for name in rows.column_names])
    pq.write_table(rows.select(["images", *columns]), tmp_path / "train.parquet")
    manifest = train(recipe(method, tmp_path / "train.parquet", trainer=SHORT), tmp_path / "run")
    assert manifest["drawn"]["used"] > 0
    with pytest.raises(InputError, match=r"lacks .*rejected"):
        train(recipe("dpo", tmp_path / "train.parquet", loss={}), tmp_path / "dpo")


def test_two_answers_are_two_samples_whatever_the_models_config_says(
    greedy_by_its_config: str, preferences: Path, tmp_path: Path
) -> None:
    """Qwen2-VL's would give the same answer twice."""
    asked = recipe("online-dpo", preferences, trainer=SHORT)
    plain = train(asked, tmp_path / "plain")
    qwen = train(replace(asked, model=greedy_by_its_config), tmp_path / "qwen")
    assert plain["drawn"] == qwen["drawn"]
    assert plain["drawn"]["same"] < plain["drawn"]["rows"]
    assert plain["sampling"] == {
        "greedy": False,
        "temperature": 1.5,
        "top_p": 1.0,
        "top_k": 0,
        "repetition_penalty": 1.0,
    }
    policy, (rows, images) = load_policy(ModelRef(greedy_by_its_config)), rows_and_images(4)
    counts = source_of("online-dpo", policy, images, top_k="model")(rows, 0).counts
    assert counts["same"] + counts["unfinished"] == 4
