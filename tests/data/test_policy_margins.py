"""Margins under a model against transformers' own log-probabilities."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from mmpref.data.policy_margins import _share, score_pairs
from mmpref.images import decode
from mmpref.tables.open import open_table
from mmpref.testbed.training.build import IMAGE_TOKENS
from mmpref.types import ImageData, Message, ModelRef
from mmpref.vlm.load import load_policy
from mmpref.vlm.policy import Policy


@torch.inference_mode()
def naive(policy: Policy, png: bytes, prompt: str, answer: str) -> float:
    messages = [Message("user", prompt)]
    inputs = dict(
        policy.processor(
            text=[policy.render(messages, 1)],
            images=[[decode(ImageData(png))]],
            return_tensors="pt",
            add_special_tokens=False,
        )
    )
    answer += policy.tokenizer.eos_token
    ids = policy.tokenizer(answer, add_special_tokens=False, return_tensors="pt")["input_ids"]
    begin = inputs["input_ids"].shape[1]
    inputs["input_ids"] = torch.cat([inputs["input_ids"], ids], 1)
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    logits = policy.model(**inputs, use_cache=False).logits[0, begin - 1 : -1]
    return float(logits.log_softmax(-1).gather(1, ids[0][:, None]).sum())


def test_margins_are_those_of_the_model(tmp_path: Path) -> None:
    policy = load_policy(ModelRef("pkg:mmpref.testbed/model"))
    rows, expected = [], []
    for number, row in zip(range(20), open_table("testbed"), strict=False):
        png, prompt = row["images"][0]["bytes"], row["prompt"][0]["content"]
        (tmp_path / f"{number}.png").write_bytes(png)
        chosen = row["completion"][0]["content"]
        rejected = "No." if chosen != "No." else "Yes."
        rows.append({"image": f"{number}.png", "prompt": prompt, "chosen": chosen, "rejected": rejected})
        rows.append({**rows[-1], "chosen": "A glorbix.", "rejected": "A wumplet."})  # the same to this model
        expected.append(naive(policy, png, prompt, chosen) - naive(policy, png, prompt, rejected))
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    told: list[tuple[int, int]] = []
    found = score_pairs(policy, open_table(str(tmp_path / "rows.json")), on_progress=lambda *one: told.append(one))
    assert found["rows"] == 20
    assert found["margin"]["mean"] == pytest.approx(sum(expected) / 20, abs=1e-3)
    assert found["margin"]["max"] == pytest.approx(max(expected), abs=1e-3)
    assert found["prefers_chosen"] == sum(value > 0 for value in expected) / 20
    assert found["image_tokens"]["min"] == found["image_tokens"]["max"] == IMAGE_TOKENS
    assert told[-1] == (40, 40)


def test_ties_count_half_as_in_training() -> None:
    assert _share([0.5, -1.0, 0.0, 0.0]) == 0.5
    assert _share([]) is None
