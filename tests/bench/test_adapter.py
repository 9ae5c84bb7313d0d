"""Base and adapter of one evaluation: each model's answers are its own, and so are its parse failures."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from mmpref.bench.evaluate import evaluate
from mmpref.bench.recipe import EvaluateRecipe

from .conftest import MODEL

POPE, CHAIR = 24, 8
BENCHMARK = {
    "pope": {"data": "testbed-pope", "suffix": "", "max_new_tokens": 8},
    "chair": {"data": "testbed-chair", "synonyms": "pkg:mmpref.testbed/synonyms.txt", "max_new_tokens": 32},
}


@dataclass(frozen=True)
class Runs:
    """A run of both models, and one of the base alone."""

    both: Path
    alone: Path
    content: dict[str, Any]

    def answers(self, model: str, benchmark: str, run: Path | None = None) -> list[str]:
        file = (run or self.both) / "samples" / f"{model}-{benchmark}.parquet"
        return pq.read_table(file).column("answer").to_pylist()


@pytest.fixture(scope="module")
def runs(adapter: Path, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    folder = tmp_path_factory.mktemp("runs")
    names = ("pope", "chair")
    both = EvaluateRecipe(MODEL, names, adapter=str(adapter), benchmark=BENCHMARK, limit=POPE)
    content = evaluate(both, folder / "both")
    evaluate(EvaluateRecipe(MODEL, names, benchmark=BENCHMARK, limit=POPE), folder / "alone")
    return Runs(folder / "both", folder / "alone", content)


@pytest.mark.parametrize("benchmark", ["pope", "chair"])
def test_the_base_beside_an_adapter_answers_as_the_base_alone(runs: Runs, benchmark: str) -> None:
    assert runs.answers("base", benchmark) == runs.answers("base", benchmark, runs.alone)
    one, two = ((run / f"samples/base-{benchmark}.parquet").read_bytes() for run in (runs.both, runs.alone))
    assert one == two


@pytest.mark.parametrize("benchmark", ["pope", "chair"])
def test_the_adapter_answers_as_plain_peft_does(runs: Runs, adapter: Path, benchmark: str) -> None:
    import torch
    from peft import PeftModel
    from PIL import Image
    from transformers import AutoModelForImageTextToText, AutoProcessor

    from mmpref.images import decode
    from mmpref.registry import resolve_path
    from mmpref.tables.open import open_table
    from mmpref.types import ImageData

    ours = runs.answers("adapter", benchmark)
    base = runs.answers("base", benchmark)
    assert sum(one != two for one, two in zip(ours, base, strict=True)) > len(ours) // 2
    path = resolve_path(MODEL)
    processor = AutoProcessor.from_pretrained(path)
    plain = AutoModelForImageTextToText.from_pretrained(path, dtype=torch.float32)
    model = PeftModel.from_pretrained(plain, str(adapter)).eval()
    config = model.get_base_model().generation_config
    config.suppress_tokens = [model.get_base_model().config.image_token_id]  # an answer holds no picture
    theirs = []
    for row in islice(open_table(BENCHMARK[benchmark]["data"], "test"), CHAIR):
        image: Image.Image = decode(ImageData(row["image"]["bytes"]))
        text = row["question"] if benchmark == "pope" else "Please describe this image in detail."
        content = [{"type": "image"}, {"type": "text", "text": text}]
        prompt = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        inputs = processor(images=image, text=prompt, add_special_tokens=False, return_tensors="pt")
        with torch.inference_mode():
            tokens = model.generate(**inputs, do_sample=False, max_new_tokens=BENCHMARK[benchmark]["max_new_tokens"])[
                0, inputs["input_ids"].shape[1] :
            ]
        theirs.append(processor.tokenizer.decode(tokens, skip_special_tokens=True).strip())
    assert ours[:CHAIR] == theirs


def test_parse_failures_are_counted_for_each_model_and_part(runs: Runs) -> None:
    counted = {
        row["model"]: row["parse_failures"]
        for row in runs.content["results"]
        if (row["benchmark"], row["metric"], row["split"]) == ("pope", "accuracy", "all")
    }
    for model, failures in counted.items():
        said = runs.answers(model, "pope")
        assert failures == sum(not re.search(r"\b(yes|no|not)\b", answer, re.IGNORECASE) for answer in said)
        kept = pq.read_table(runs.both / f"samples/{model}-pope.parquet").column("parse_failure").to_pylist()
        assert sum(kept) == failures
    assert counted["base"] == 0
    assert 0 < counted["adapter"] <= POPE


def test_the_difference_is_adapter_minus_base(runs: Runs) -> None:
    values = {(row["model"], row["benchmark"], row["metric"], row["split"]): row for row in runs.content["results"]}
    moved = 0
    for row in runs.content["differences"]:
        key = row["benchmark"], row["metric"], row["split"]
        assert row["value"] == pytest.approx(values["adapter", *key]["value"] - values["base", *key]["value"])
        moved += row["value"] != 0
    assert moved > 0
