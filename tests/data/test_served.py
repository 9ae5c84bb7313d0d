"""Models behind a server as whoever writes answers: the same data as when loaded here, and what becomes of faults."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mmpref.cli.main import main
from mmpref.data.build import build_dataset
from mmpref.data.builder import BUILDERS
from mmpref.data.pool_size import BLOCK_SIZE
from mmpref.data.recipe import BuildRecipe
from mmpref.data.sources import Source
from mmpref.data.summary import summary_rows
from mmpref.errors import ModelError, UsageError
from mmpref.images import decode
from mmpref.registry import resolve_path
from mmpref.sampling.settings import BATCH_SIZE
from mmpref.tables.open import open_table
from mmpref.types import Example
from mmpref.vlm.policy import Policy
from tests.data.built import rows_of
from tests.judges.serve import serving
from tests.judges.served_model import ModelServer
from tests.judges.server import fault, text_of

MODEL, EMBEDDER = "pkg:mmpref.testbed/model", "pkg:mmpref.testbed/embedder"
WRITTEN: dict[str, Any] = {"similarity_model": EMBEDDER, "max_answer_tokens": 16, "keep_cut_off": True}
SAMPLED: dict[str, Any] = {**WRITTEN, "max_answer_tokens": 48, "temperature": 1.5, "samples": 2}
GREEDY: dict[str, dict[str, Any]] = {
    "seva": {**WRITTEN, "noise_steps": 0},
    "stic": WRITTEN,
    "other-image": WRITTEN,
    "same-kind": WRITTEN,
}
NAME = "me/vlm"
ROWS, BLOCK = 6, 3


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMPREF_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MMPREF_API_KEY", "sk-very-secret")


@pytest.fixture
def server(policy: Policy) -> Iterator[ModelServer]:
    with ModelServer({NAME: lambda: policy}) as running:
        yield running


def recipe(method: str, model: str, **changes: Any) -> BuildRecipe:
    builder = GREEDY.get(method, SAMPLED)
    annotator = "testbed-oracle" if BUILDERS.get(method).needs_annotator else None
    made = BuildRecipe(model, "testbed", method, limit=ROWS, block_size=BLOCK, annotator=annotator, builder=builder)
    return replace(made, **changes)


@pytest.mark.parametrize(
    "method", ["seva", "stic", *(pytest.param(name, marks=pytest.mark.long) for name in ("other-image", "same-kind"))]
)
def test_greedy_answers_of_a_server_give_the_data_of_a_model_that_is_loaded(
    method: str, server: ModelServer, tmp_path: Path
) -> None:
    far = build_dataset(recipe(method, f"{server.url}#{NAME}"), tmp_path / "far")
    near = build_dataset(recipe(method, MODEL), tmp_path / "near")
    assert rows_of(tmp_path / "far") == rows_of(tmp_path / "near")
    kept = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert [file for file in kept if b"sk-very-secret" in file.read_bytes()] == []
    assert far["counts"] == near["counts"]
    assert far["server"]["requests"] == len(server.requests) == ROWS - far["counts"]["skipped"].get("no-partner", 0)
    assert all((body["temperature"], body.get("seed")) == (0, None) for body in server.requests)


@pytest.mark.long
def test_a_server_that_nobody_here_wrote_gives_the_same_data(tmp_path: Path) -> None:
    """`transformers serve`, which refuses what is vLLM's."""
    folder = resolve_path(MODEL)
    with serving(folder, tmp_path / "log") as url:
        far = build_dataset(recipe("stic", f"{url}#{folder}"), tmp_path / "far")
    build_dataset(recipe("stic", MODEL), tmp_path / "near")
    assert rows_of(tmp_path / "far") == rows_of(tmp_path / "near")
    assert far["server"]["without_repetition_penalty"] == far["server"]["requests"] == ROWS


def test_sizes_that_memory_decides_are_the_plain_ones_of_a_served_model(server: ModelServer, tmp_path: Path) -> None:
    for name, block, width in (("auto", "auto", "auto"), ("plain", BLOCK_SIZE, BATCH_SIZE)):
        asked = recipe("candidates", f"{server.url}#{NAME}", block_size=block, builder={**SAMPLED, "batch_size": width})
        build_dataset(asked, tmp_path / name)
    assert rows_of(tmp_path / "auto") == rows_of(tmp_path / "plain")


def test_the_pixels_that_are_sent_are_the_pictures(server: ModelServer, tmp_path: Path) -> None:
    build_dataset(recipe("seva", f"{server.url}#{NAME}", limit=4), tmp_path / "run")
    [(_, block)] = Source([open_table("testbed")], limit=4).blocks(4, lambda _: True)
    pictures = [
        decode(image).tobytes() for example in block if isinstance(example, Example) for image in example.images
    ]
    assert len(pictures) == len(set(pictures)) == 4
    assert sorted(picture.tobytes() for picture in server.shown) == sorted(pictures)


def test_what_is_drawn_has_seeds_of_its_own_and_the_same_ones_again(server: ModelServer, tmp_path: Path) -> None:
    spec = f"{server.url}#{NAME}"
    manifest = build_dataset(recipe("candidates", spec), tmp_path / "one")
    sent = [(text_of(body), body["seed"]) for body in server.requests]
    assert len({seed for _, seed in sent}) == len(sent) == 2 * ROWS
    for body in server.requests:
        assert (body["temperature"], body["top_p"], body["top_k"], body["repetition_penalty"]) == (1.5, 1.0, -1, 1.0)
    build_dataset(recipe("candidates", spec), tmp_path / "two")
    assert sorted((text_of(body), body["seed"]) for body in server.requests[len(sent) :]) == sorted(sent)
    assert rows_of(tmp_path / "one") == rows_of(tmp_path / "two")
    assert {row["chosen_model"] for row in rows_of(tmp_path / "one")} == {NAME}
    assert manifest["model"] == {"id": spec, "revision": None}
    assert manifest["sampling"]["temperature"] == 1.5
    assert manifest["seeds"] == {"run": 0}
    counts = {"requests": 2 * ROWS, "failed": 0, "prompt_tokens": 22 * ROWS, "completion_tokens": 6 * ROWS}
    assert manifest["server"] == {"url": server.url, "model": NAME, **counts}
    lines = dict(summary_rows(manifest))
    assert lines["answers are from a server"].startswith(f"{NAME} at {server.url}, {2 * ROWS} requests")
    build_dataset(recipe("candidates", spec, seed=1, limit=3), tmp_path / "three")
    assert not {body["seed"] for body in server.requests[2 * len(sent) :]} & {seed for _, seed in sent}


@pytest.mark.long
def test_shards_and_a_server_that_dies_give_the_same_bytes(policy: Policy, tmp_path: Path) -> None:
    dead = False

    def trouble(body: dict[str, Any], _: int) -> Any:
        return fault(401) if dead and len(server.requests) > 2 else None

    with ModelServer({NAME: lambda: policy}, trouble) as server:
        asked = recipe("claims", f"{server.url}#{NAME}")
        build_dataset(asked, tmp_path / "whole")
        for index in (1, 0):
            build_dataset(asked, tmp_path / "split", shard=(index, 2), concurrency=2)
        server.requests.clear()
        dead = True
        with pytest.raises(ModelError, match="refuses access"):
            build_dataset(asked, tmp_path / "cut", concurrency=1)
        dead, before = False, len(server.requests)
        build_dataset(asked, tmp_path / "cut")
        assert len(server.requests) == before + 2 * ROWS, "no block was done before it died"
    files = [sorted((tmp_path / name / "data").glob("*.parquet")) for name in ("whole", "split", "cut")]
    assert [file.read_bytes() for file in files[0]] == [file.read_bytes() for file in files[1]]
    assert [file.read_bytes() for file in files[0]] == [file.read_bytes() for file in files[2]]


def test_a_finished_block_is_not_asked_for_again(policy: Policy, tmp_path: Path) -> None:
    dead = True

    def trouble(_body: dict[str, Any], _before: int) -> Any:
        return fault(401) if dead and len(server.requests) > BLOCK else None

    with ModelServer({NAME: lambda: policy}, trouble) as server:
        asked = recipe("seva", f"{server.url}#{NAME}")
        with pytest.raises(ModelError, match="MMPREF_API_KEY"):
            build_dataset(asked, tmp_path / "run", concurrency=1)
        dead, before = False, len(server.requests)
        manifest = build_dataset(asked, tmp_path / "run")
        assert len(server.requests) == before + ROWS - BLOCK
    assert manifest["server"]["requests"] == ROWS


def test_requests_that_fail_are_skipped_and_told(policy: Policy, tmp_path: Path) -> None:
    def trouble(body: dict[str, Any], before: int) -> Any:
        if "describe" in text_of(body).lower():
            return fault(400, "content filter")
        return fault(503) if before == 0 else None

    with ModelServer({NAME: lambda: policy}, trouble) as server:
        for method in ("seva", "candidates"):
            manifest = build_dataset(recipe(method, f"{server.url}#{NAME}"), tmp_path / method)
            skipped = manifest["counts"]["skipped"]["failed-request"]
            assert 0 < skipped < ROWS
            assert manifest["server"]["failed"] == skipped * (1 if method == "seva" else 2)
            report = json.loads((tmp_path / method / "report.json").read_text())
            assert "content filter" in report["skipped"]["failed-request"]["first"][0]["detail"]


def test_what_a_server_does_not_take_is_left_out_where_it_says_nothing(policy: Policy, tmp_path: Path) -> None:
    def trouble(body: dict[str, Any], _: int) -> Any:
        unknown = sorted({"top_k", "repetition_penalty", "seed"} & set(body))
        return fault(400, f"Unrecognized request arguments supplied: {', '.join(unknown)}") if unknown else None

    with ModelServer({NAME: lambda: policy}, trouble) as server:
        spec = f"{server.url}#{NAME}"
        manifest = build_dataset(recipe("candidates", spec), tmp_path / "run")
        assert {name: count for name, count in manifest["server"].items() if "without" in name} == {
            "without_top_k": 2 * ROWS,
            "without_repetition_penalty": 2 * ROWS,
            "without_seed": 2 * ROWS,
        }
        with pytest.raises(ModelError, match="takes no top_k for me/vlm, and 5 is asked for"):
            build_dataset(recipe("candidates", spec, builder={**SAMPLED, "top_k": 5}), tmp_path / "five")


REFUSED = {
    "bdhs": "hides image tokens inside the model",
    "masking": "hides image tokens inside the model",
    "povid-distortion": "reads the model's logits",
    "seva": "noise on the pixel values",
}


@pytest.mark.parametrize("method", REFUSED)
def test_what_needs_the_model_itself_is_refused_before_any_work(
    method: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    where = ["--model", f"http://127.0.0.1:9/v1#{NAME}", "--source", "testbed", "--output", str(run)]
    with pytest.raises(SystemExit) as exited:
        main(["build-dataset", "--method", method, *where])
    assert exited.value.code == 2
    told = capsys.readouterr().err
    assert REFUSED[method] in told
    assert "Load the model here: give its Hub id or folder." in told
    assert not run.exists()


@pytest.mark.parametrize("what", [["testbed-pairs"], ["--source", "testbed"]])
def test_looking_into_a_served_model_is_refused(what: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exited:
        main(["inspect", *what, "--model", f"http://127.0.0.1:9/v1#{NAME}"])
    assert exited.value.code == 2
    told = capsys.readouterr().err
    assert "log-probabilities" in told
    assert "Load the model here" in told


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"revision": "main"}, "no revision here"),
        ({"quantization": "4bit"}, "loaded as its server was told"),
        ({"builder": {**SAMPLED, "temperature": "model"}}, "nobody here knows its generation_config"),
        ({"model": "http://127.0.0.1:9/v1"}, "no model"),
        ({"model": f"http://me:word@127.0.0.1:9/v1#{NAME}"}, "user or password"),
        ({"model": f"http://127.0.0.1:9/v1?key=word#{NAME}"}, "a query"),
    ],
)
def test_settings_that_make_no_sense_of_a_served_model(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        build_dataset(replace(recipe("candidates", f"http://127.0.0.1:9/v1#{NAME}"), **changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_server_that_is_not_there_and_a_name_that_it_does_not_know(server: ModelServer, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"Nobody answers at http://127\.0\.0\.1:9/v1"):
        build_dataset(recipe("stic", f"http://127.0.0.1:9/v1#{NAME}"), tmp_path / "gone")
    with pytest.raises(ModelError, match="knows no model 'other'"):
        build_dataset(recipe("stic", f"{server.url}#other"), tmp_path / "other")


def test_the_model_as_its_own_checker_is_the_served_one(server: ModelServer, tmp_path: Path) -> None:
    settings = {**SAMPLED, "instruction": "{claim}"}
    asked = recipe("claims", f"{server.url}#{NAME}", annotator="policy", builder=settings, limit=4)
    with pytest.raises(Exception, match="could be used"):  # the testbed's model says neither yes nor no to a claim
        build_dataset(asked, tmp_path / "run")
    assert len(server.requests) > 2 * 4


def test_card_and_files_name_server_and_model_and_no_key(server: ModelServer, tmp_path: Path) -> None:
    from mmpref.hub.cards.dataset import write_dataset_card
    from mmpref.hub.cards.markdown import code

    spec = f"{server.url}#{NAME}"
    build_dataset(recipe("stic", spec), tmp_path / "run", write_card=write_dataset_card)
    card = (tmp_path / "run/README.md").read_text()
    assert f"| model | {code(spec)} |" in card
    assert "Answers came from a server that calls the model <code>me/vlm</code>" in card
    assert "a local model" not in card
    assert set(server.keys) == {"Bearer sk-very-secret"}
    written = [file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()]
    assert not any(b"sk-very" in content for content in written)
