"""The image-blind control: images decide nothing, the samples are the sighted ones, and the names say what it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from mmpref.bench.compare import compare
from mmpref.bench.evaluate import evaluate
from mmpref.bench.recipe import EvaluateRecipe
from mmpref.hub.cards.model_index import model_index
from mmpref.hub.cards.results_table import lines_of
from mmpref.run.results import Results

from .conftest import MODEL, png, pope_row, write_rows

POPE = {"pope": {"data": "testbed-pope", "suffix": "", "max_new_tokens": 8}}


def _run(folder: Path, blind: str | None, batch_size: int = 16, limit: int = 48) -> dict[str, Any]:
    recipe = EvaluateRecipe(MODEL, ("pope",), benchmark=POPE, limit=limit, blind=blind)  # type: ignore[arg-type]
    return evaluate(recipe, folder, batch_size=batch_size)


def _answers(folder: Path, name: str) -> list[str]:
    return pq.read_table(folder / f"samples/base-{name}.parquet").column("answer").to_pylist()


@pytest.mark.parametrize("blind", ["no-image", "masked"])
def test_images_decide_nothing(tmp_path: Path, blind: str) -> None:
    """One question about images of six colours has one answer."""
    for i, colour in enumerate(("red", "blue", "green", "white", "black", "yellow")):
        (tmp_path / f"{i}.png").write_bytes(png(colour))
    file = write_rows(tmp_path / "test.jsonl", [pope_row(i, f"{i}.png") for i in range(6)])
    recipe = EvaluateRecipe(MODEL, ("pope",), benchmark={"pope": {"data": str(file), "max_new_tokens": 8}}, blind=blind)  # type: ignore[arg-type]
    evaluate(recipe, tmp_path / "run")
    assert len(set(_answers(tmp_path / "run", f"pope-blind-{blind}"))) == 1


def test_masked_is_what_the_masked_model_says(tmp_path: Path) -> None:
    """Against the whole sequence with the image tokens masked from attention, decoded without a cache."""
    import torch

    from mmpref.images import decode
    from mmpref.tables.open import open_table
    from mmpref.types import ImageData, Message, ModelRef
    from mmpref.vlm.load import load_policy

    _run(tmp_path / "run", "masked", limit=4)
    policy = load_policy(ModelRef(MODEL))
    said = []
    for row, _ in zip(open_table("testbed-pope", "test"), range(4), strict=False):
        image = decode(ImageData(row["image"]["bytes"]))
        inputs = policy.prompter.prepare((Message("user", row["question"]),), (image,))
        ids, written = inputs["input_ids"], []
        while len(written) < 8:
            mask = (ids != policy.image_token_id).long()
            mask[0, inputs["input_ids"].shape[1] :] = 1
            with torch.no_grad():
                logits = (
                    policy.base_model(
                        input_ids=ids,
                        attention_mask=mask,
                        position_ids=torch.arange(ids.shape[1])[None],
                        pixel_values=inputs["pixel_values"],
                        image_sizes=inputs["image_sizes"],
                        use_cache=False,
                    )
                    .logits[0, -1]
                    .clone()
                )
            logits[list(policy.suppressed_ids)] = -torch.inf
            token = int(logits.argmax())
            if token in policy.eos_ids:
                break
            written.append(token)
            ids = torch.cat([ids, torch.tensor([[token]])], 1)
        said.append(policy.tokenizer.decode(written, skip_special_tokens=True).strip())
    assert _answers(tmp_path / "run", "pope-blind-masked") == said


def test_blind_results_cannot_be_taken_for_sighted_ones(tmp_path: Path) -> None:
    sighted, blind = _run(tmp_path / "sighted", None), _run(tmp_path / "blind", "no-image")
    assert {row["benchmark"] for row in blind["results"]} == {"pope-blind-no-image"}
    assert blind["counts"] == {"pope-blind-no-image": 48}
    assert sighted["recipe_hash"] != blind["recipe_hash"]
    accuracy = [
        next(row["value"] for row in run["results"] if (row["metric"], row["split"]) == ("accuracy", "all"))
        for run in (sighted, blind)
    ]
    assert accuracy[0] > accuracy[1] + 0.2
    rows = compare([tmp_path / "sighted", tmp_path / "blind"]).rows
    assert all(sum(cell is not None for cell in cells) == 1 for _, cells in rows)
    assert {line.benchmark for line in lines_of(Results.from_dict(blind))} == {
        "testbed-pope:test, scored like pope-blind-no-image"
    }
    assert not any(entry["results"] for entry in model_index("a", Results.from_dict(blind)))
    assert any(entry["results"] for entry in model_index("a", Results.from_dict(sighted)))
    assert EvaluateRecipe(MODEL, ("pope", "chair"), blind="masked").title == "pope-blind-masked-chair-blind-masked"


def test_the_batch_size_changes_nothing_and_missing_images_stay_missing(tmp_path: Path) -> None:
    for blind in ("no-image", "masked"):
        for size in (1, 16):
            _run(tmp_path / f"{blind}-{size}", blind, size, limit=20)  # type: ignore[arg-type]
        one, two = ((tmp_path / f"{blind}-{size}/results.json").read_bytes() for size in (1, 16))
        assert one == two
    (tmp_path / "a.png").write_bytes(png("red"))
    file = write_rows(tmp_path / "test.jsonl", [pope_row(0, "a.png"), pope_row(1, "none.png")])
    recipe = EvaluateRecipe(
        MODEL, ("pope",), benchmark={"pope": {"data": str(file), "max_new_tokens": 4}}, blind="no-image"
    )
    assert evaluate(recipe, tmp_path / "run")["missing"] == {"pope-blind-no-image": {"base": 1}}
