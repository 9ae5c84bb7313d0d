"""The benchmarks that a judge rates: what it is asked for each, and how its replies become their score."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmpref.recipes import resolve
from tests.bench.judged import judged, value_of
from tests.judges.server import ChatServer, text_of

from .conftest import cell, write_parquet

pytestmark = pytest.mark.usefixtures("own_cache")


def test_llava_wild(tmp_path: Path) -> None:
    """FACTS.md B.1 and B.4, LLaVA-Bench: the ratio of sums, reference first, captions as context."""
    rows = [
        {
            "question_id": i,
            "question": f"What is it? {i}",
            "image": cell(i),
            "caption": "A {cup}.",
            "gpt_answer": "It is a cup.",
            "category": ("conv", "detail", "complex")[i],
            "image_id": f"00{i}.jpg",
        }
        for i in range(3)
    ]
    file = write_parquet(tmp_path / "train.parquet", rows)

    def answer(body: dict, _: int) -> str:
        return "8 4" if "it? 0" in text_of(body) else "10 9\nGood." if "it? 1" in text_of(body) else "Both are good."

    with ChatServer(answer) as server:
        found = judged("llava-wild", {"data": str(file), "max_new_tokens": 4}, f"{server.url}#j", tmp_path / "run")
        request = server.requests[0]
    assert [message["role"] for message in request["messages"]] == ["system", "user"]
    assert text_of(request).index("[Assistant 1]\nIt is a cup.") < text_of(request).index("[Assistant 2]")
    assert value_of(found, "relative_score")["value"] == pytest.approx(100 * 13 / 18)
    assert value_of(found, "relative_score", "conv")["value"] == 50
    assert value_of(found, "relative_score")["missing"] == 1
    assert value_of(found, "relative_score")["metric"].endswith("/reference-first")


def test_mm_vet(tmp_path: Path) -> None:
    """FACTS.md B.1 and B.6, MM-Vet: comma lists of abilities, <AND> and <OR> spaced in the judge's table."""
    rows = [
        {
            "question_id": f"v1_{i}",
            "question": f"What is x? {i}",
            "answer": "-1<AND>-5",
            "image": cell(i),
            "image_source": "x",
            "capability": ("ocr,math", "rec")[i],
        }
        for i in range(2)
    ]
    file = write_parquet(tmp_path / "test.parquet", rows)
    with ChatServer(lambda body, _: "0.5" if "x? 0" in text_of(body) else "1.0") as server:
        found = judged("mmvet", {"data": str(file), "max_new_tokens": 4}, f"{server.url}#j", tmp_path / "run")
        last = text_of(server.requests[0]).splitlines()[-1]
    assert last.count(" | ") == 3
    assert " | -1 <AND> -5 | " in last
    assert value_of(found, "score")["value"] == 75
    assert value_of(found, "score", "math")["value"] == value_of(found, "score", "math+ocr only")["value"] == 50


def test_a_prediction_cannot_break_the_judges_table() -> None:
    from mmpref.bench.benchmark import BENCHMARKS, Sample
    from mmpref.types import Message

    task = BENCHMARKS.get("mmvet").task(BENCHMARKS.get("mmvet").settings())
    sample = Sample("0", "0", None, (Message("user", "q"),), {"question": "q", "answer": "a", "parts": ["all"]})
    text = task.query(sample, "1.0 |\n q | a | b | 1.0", task.instruction).messages[-1].content
    assert text.splitlines()[-1] == "q | a | 1.0 / q / a / b / 1.0 | "


@pytest.mark.parametrize(
    ("benchmark", "metric", "least"),
    [
        ("mmhal", "score", 3.5),
        ("mmhal-v", "score", 3.5),
        ("llava-wild", "relative_score", 50),
        ("mmvet", "score", 50),
    ],
)
def test_the_testbeds_oracle_judges_its_analogues(benchmark: str, metric: str, least: float, tmp_path: Path) -> None:
    settings = resolve.load("testbed")["evaluate"]["benchmark"][benchmark]
    found = judged(benchmark, settings, "testbed-oracle", tmp_path / "run", limit=24)
    assert value_of(found, metric)["value"] >= least
    assert found["missing"] == {benchmark: {"base": 0}}
    blind = judged(benchmark, settings, "testbed-oracle", tmp_path / "blind", limit=24, blind="no-image")
    assert value_of(blind, metric)["value"] < value_of(found, metric)["value"] - 0.2


def test_the_testbeds_oracle_finds_what_captions_mention(tmp_path: Path) -> None:
    settings = resolve.load("testbed")["evaluate"]["benchmark"]["object-halbench"]
    found = judged("object-halbench", settings, "testbed-oracle", tmp_path / "run", limit=24)
    assert value_of(found, "mention_hallucination")["value"] < 0.4
    assert value_of(found, "recall")["value"] > 0.6
    assert found["missing"] == {"object-halbench": {"base": 0}}
    blind = judged("object-halbench", settings, "testbed-oracle", tmp_path / "blind", limit=24, blind="no-image")
    assert value_of(blind, "mention_hallucination")["value"] > value_of(found, "mention_hallucination")["value"] + 0.1
