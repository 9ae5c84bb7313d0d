"""Models behind an OpenAI-compatible endpoint: the same answers as loaded here, and what becomes of faults."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from mmpref.bench.evaluate import evaluate
from mmpref.bench.recipe import EvaluateRecipe
from mmpref.cli.main import main
from mmpref.errors import ModelError, UsageError
from mmpref.registry import resolve_path
from tests.judges.serve import serving
from tests.judges.server import ChatServer, fault, text_of

from .conftest import png, pope_row, write_rows

ANALOGUES = {
    "pope": {"data": "testbed-pope", "suffix": "", "max_new_tokens": 8},
    "chair": {"data": "testbed-chair", "synonyms": "pkg:mmpref.testbed/synonyms.txt", "max_new_tokens": 48},
}
URL = "http://127.0.0.1:9/v1#m"
TESTBED = resolve_path("pkg:mmpref.testbed/model")


def _answers(run: Path, label: str = "pope") -> list[str]:
    return [str(row["answer"]) for row in pq.read_table(run / f"samples/base-{label}.parquet").to_pylist()]


@pytest.mark.long
def test_a_served_model_scores_as_it_does_when_loaded_here(tmp_path: Path) -> None:
    """The real server; of `chair` whole captions must be equal."""
    with serving(TESTBED, tmp_path / "log") as url:
        far = evaluate(
            EvaluateRecipe(f"{url}#{TESTBED}", ("pope", "chair"), limit=12, benchmark=ANALOGUES), tmp_path / "far"
        )
    near = evaluate(EvaluateRecipe(TESTBED, ("pope", "chair"), limit=12, benchmark=ANALOGUES), tmp_path / "near")
    for label in ("pope", "chair"):
        assert _answers(tmp_path / "far", label) == _answers(tmp_path / "near", label)
    assert len(set(_answers(tmp_path / "far", "chair"))) > 4, "it sees the images"
    assert far["results"] == near["results"]
    assert far["models"] == [
        {
            "name": "base",
            "ref": {"model": f"{url}#{TESTBED}", "revision": None, "adapter": None, "adapter_revision": None},
        }
    ]


@pytest.fixture
def data(tmp_path: Path) -> dict[str, Any]:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "a.png").write_bytes(png("red"))
    (folder / "cut.png").write_bytes(png("blue")[:40])
    rows = [pope_row(number, "a.png") for number in range(5)] + [pope_row(5, "cut.png")]
    for number, row in enumerate(rows):
        row["question"] = f"Is there a thing {number} in the image?"
    return {"pope": {"data": str(write_rows(folder / "train.jsonl", rows)), "split": "train"}}


def test_a_request_that_fails_is_missing_and_not_wrong(data: dict[str, Any], tmp_path: Path) -> None:
    with ChatServer(lambda body, _: fault(400) if "thing 3" in text_of(body) else "Yes, there is.") as server:
        found = evaluate(EvaluateRecipe(f"{server.url}#m", ("pope",), benchmark=data), tmp_path / "run")
        assert all(body["temperature"] == 0 for body in server.requests)
        assert len(server.requests) == 5, "an image that cannot be read is not sent"
    accuracy = next(row for row in found["results"] if row["metric"] == "accuracy" and row["split"] == "all")
    assert (accuracy["value"], accuracy["n"], accuracy["missing"]) == (1.0, 4, 2)
    assert found["missing"] == {"pope": 2}


def test_a_blind_run_sends_no_images_and_masking_is_refused(data: dict[str, Any], tmp_path: Path) -> None:
    with ChatServer(lambda body, _: "no") as server:
        evaluate(EvaluateRecipe(f"{server.url}#m", ("pope",), benchmark=data, blind="no-image"), tmp_path / "blind")
        assert "image_url" not in json.dumps(server.requests)
        evaluate(EvaluateRecipe(f"{server.url}#m", ("pope",), benchmark=data), tmp_path / "sighted")
        assert "image_url" in json.dumps(server.requests)
        with pytest.raises(UsageError, match="hide image tokens"):
            evaluate(EvaluateRecipe(f"{server.url}#m", ("pope",), benchmark=data, blind="masked"), tmp_path / "masked")


@pytest.mark.long
def test_an_endpoint_that_dies_is_gone_on_with(data: dict[str, Any], tmp_path: Path) -> None:
    recipe = EvaluateRecipe(URL, ("pope",), benchmark=data)
    with pytest.raises(ModelError, match="cannot be reached"):
        evaluate(recipe, tmp_path / "run")
    with ChatServer(lambda body, _: fault(401) if "thing 4" in text_of(body) else "yes") as server:
        recipe = EvaluateRecipe(f"{server.url}#m", ("pope",), benchmark=data)
        with pytest.raises(ModelError, match="refuses access"):
            evaluate(recipe, tmp_path / "dies", batch_size=2)
        asked = len(server.requests)
        server._answer = lambda body, _: "yes"
        evaluate(recipe, tmp_path / "dies", batch_size=2)
        assert len(server.requests) == asked + 1, "what was answered is not asked again"


@pytest.mark.parametrize("options", [["--adapter", "x"], ["--revision", "main"]])
def test_an_endpoint_has_no_adapter_or_revision(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    with pytest.raises(SystemExit) as exited:
        main(["evaluate", "--model", URL, *options, "--benchmark", "textvqa", "--output", str(run)])
    assert exited.value.code == 2
    assert "behind an endpoint" in capsys.readouterr().err
    assert not run.exists()
