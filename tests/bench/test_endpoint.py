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
from mmpref.hub.cards.results_table import lines_of, results_block
from mmpref.hub.private import public
from mmpref.registry import resolve_path
from mmpref.run.results import Results
from mmpref.types import ModelRef
from mmpref.vlm.load import load_policy
from tests.judges.serve import serving
from tests.judges.served_model import ModelServer
from tests.judges.server import ChatServer, fault, text_of

from .conftest import png, pope_row, write_rows

ANALOGUES = {
    "pope": {"data": "testbed-pope", "suffix": "", "max_new_tokens": 8},
    "chair": {"data": "testbed-chair", "synonyms": "pkg:mmpref.testbed/synonyms.txt", "max_new_tokens": 48},
}
URL = "http://127.0.0.1:9/v1#m"
TESTBED = resolve_path("pkg:mmpref.testbed/model")


def _answers(run: Path, label: str = "pope", model: str = "base") -> list[str]:
    return [str(row["answer"]) for row in pq.read_table(run / f"samples/{model}-{label}.parquet").to_pylist()]


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
    assert found["missing"] == {"pope": {"base": 2}}


def test_a_blind_run_sends_no_images_and_masking_is_refused(data: dict[str, Any], tmp_path: Path) -> None:
    with ChatServer(lambda body, _: "no") as server:
        evaluate(EvaluateRecipe(f"{server.url}#m", ("pope",), benchmark=data, blind="no-image"), tmp_path / "blind")
        assert "image_url" not in json.dumps(server.requests)
        evaluate(EvaluateRecipe(f"{server.url}#m", ("pope",), benchmark=data), tmp_path / "sighted")
        assert "image_url" in json.dumps(server.requests)
        with pytest.raises(UsageError, match="hide image tokens"):
            evaluate(EvaluateRecipe(f"{server.url}#m", ("pope",), benchmark=data, blind="masked"), tmp_path / "masked")


def test_a_served_adapter_is_scored_beside_its_served_base_as_when_both_are_loaded(
    adapter: Path, tmp_path: Path
) -> None:
    loaded = {"me/vlm": load_policy(ModelRef(TESTBED)), "my-lora": load_policy(ModelRef(TESTBED, None, str(adapter)))}
    benchmarks = ("pope", "chair")
    with ModelServer({name: lambda policy=policy: policy for name, policy in loaded.items()}) as server:  # type: ignore[misc]
        names = {"base": f"{server.url}#me/vlm", "adapter": f"{server.url}#my-lora"}
        far = evaluate(
            EvaluateRecipe(names["base"], benchmarks, adapter=names["adapter"], limit=8, benchmark=ANALOGUES),
            tmp_path / "far",
        )
        assert len(server.shown) == len(server.requests) == 2 * 2 * 8
    recipe = EvaluateRecipe(TESTBED, benchmarks, adapter=str(adapter), limit=8, benchmark=ANALOGUES)
    near = evaluate(recipe, tmp_path / "near")
    for model in ("base", "adapter"):
        for label in benchmarks:
            assert _answers(tmp_path / "far", label, model) == _answers(tmp_path / "near", label, model)
    assert _answers(tmp_path / "far", "chair", "adapter") != _answers(tmp_path / "far", "chair")
    assert far["results"] == near["results"]
    assert far["differences"] == near["differences"]
    assert far["server"] == {
        "base": {"url": server.url, "model": "me/vlm"},
        "adapter": {"url": server.url, "model": "my-lora"},
    }
    assert far["adapter"] == {"id": names["adapter"], "revision": None, "weights": None}
    results = Results.read(tmp_path / "far")
    block = results_block(lines_of(Results.from_dict(public(json.loads(json.dumps(results.as_dict())), far))))
    assert "came from a server, which calls the base <code>me/vlm</code> and the adapter <code>my-lora</code>." in block
    assert "came from a server" not in results_block(lines_of(Results.read(tmp_path / "near")))


@pytest.mark.parametrize(
    ("model", "adapter"), [(TESTBED, "http://127.0.0.1:9/v1#lora"), (URL, "runs/train-dpo"), (URL, "me/lora")]
)
def test_of_model_and_adapter_both_are_served_or_none(model: str, adapter: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"one is behind an endpoint"):
        evaluate(EvaluateRecipe(model, ("pope",), adapter=adapter, benchmark=ANALOGUES), tmp_path / "run")
    assert not (tmp_path / "run").exists()


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
