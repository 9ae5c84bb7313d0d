"""Judged benchmarks against a real server: what it is asked, how its replies count, and what is missing."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import JSONResponse

from mmpref.bench.evaluate import evaluate
from mmpref.bench.identity import pin_identity, refuse_other_identity
from mmpref.bench.recipe import EvaluateRecipe
from mmpref.bench.records import read_records, read_resamples
from mmpref.cli.format import print_results
from mmpref.errors import ModelError, RunError, UsageError
from mmpref.hub.private import public
from mmpref.run.directory import open_run
from mmpref.run.results import Results
from mmpref.run.verdict import lines_of
from mmpref.types import ModelRef
from tests.bench.judged import judged, value_of
from tests.judges.server import ChatServer, fault, text_of

from .benchmarks.conftest import records
from .conftest import MODEL, png, write_rows

pytestmark = pytest.mark.usefixtures("own_cache")


def mmhal_rows(count: int = 4) -> list[dict[str, Any]]:
    """FACTS.md B.3, MMHal-Bench: response_template.json."""
    types = ("attribute", "adversarial", "comparison", "counting", "relation", "environment", "holistic", "other")
    return [
        {
            "question_type": types[i % 8],
            "question_topic": "food",
            "image_id": f"id{i}",
            "model_answer": "",
            "image_src": f"https://farm1.staticflickr.com/7/{i}_o.jpg",
            "image_content": ["Cup", "Table"],
            "question": f"Where is the cup? {i}",
            "gt_answer": "On the {table}.",
        }
        for i in range(count)
    ]


@pytest.fixture
def mmhal(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "images").mkdir()
    for i in range(4):
        (tmp_path / f"images/{i}_o.jpg").write_bytes(png(("red", "blue", "green", "white")[i]))
    (tmp_path / "response_template.json").write_text(json.dumps(mmhal_rows()))
    return {"data": str(tmp_path / "response_template.json"), "images": str(tmp_path / "images"), "max_new_tokens": 4}


def test_ratings_become_scores_under_the_judges_name(mmhal: dict[str, Any], tmp_path: Path) -> None:
    def answer(body: dict, _: int) -> str:
        return f"Fine.\nRating: {2 if 'cup? 0' in text_of(body) else 5}"

    with ChatServer(answer) as server:
        found = judged("mmhal", mmhal, f"{server.url}#gpt-x", tmp_path / "run")
        asked = text_of(server.requests[0])
    assert value_of(found, "score")["value"] == pytest.approx((2 + 5 * 3) / 4)
    assert value_of(found, "hallucination_rate")["value"] == 0.25
    assert value_of(found, "informativeness")["value"] == pytest.approx((2 / 3 + 3 * 2 / 3) / 4)
    assert value_of(found, "score", "attribute")["n"] == 1
    model, prompt, temperature, order = value_of(found, "score")["metric"].removeprefix("score@").split("/")
    assert (model, len(prompt), temperature, order) == ("gpt-x", 8, "t0", "single")
    assert "### Image Contents\nCup, Table\n" in asked
    assert "On the {table}." in asked  # braces of data are text
    assert found["judge"]["model"] == "gpt-x"
    counts = found["judge"]["replies"]["mmhal"]["base"]
    assert [counts[name] for name in ("requests", "failed", "unreadable", "missing")] == [4, 0, 0, 0]
    assert counts["prompt_tokens"] > 0


@pytest.mark.parametrize(
    ("served", "shown"), [("gpt-x", "gpt-x"), ("me/judge", "me/judge"), ("/data/alice/client-acme/judge", "judge")]
)
def test_published_metrics_keep_their_names_which_give_no_folder_away(
    mmhal: dict[str, Any], tmp_path: Path, served: str, shown: str
) -> None:
    """Who tests another run against a published one finds its metrics by their names, resampled ones too."""
    with ChatServer(lambda *_: "Rating: 5") as server:
        found = judged("mmhal", mmhal, f"{server.url}#{served}", tmp_path / "run")
    results = json.loads((tmp_path / "run/results.json").read_text())
    published = Results.from_dict(public(results, found)).by_key("base")
    assert published.keys() == Results.from_dict(results).by_key("base").keys()
    assert {key.judge.rsplit("/", 3)[0] for key in published} == {shown}
    assert read_resamples(tmp_path / "run", "base").keys() <= published.keys()


def test_repeats_give_the_judges_noise_and_the_first_scores(
    mmhal: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The judge says 2, then 3, then 4 to the same question."""
    with ChatServer(lambda _, before: f"Rating: {2 + before}") as server:
        found = judged("mmhal", mmhal, f"{server.url}#m", tmp_path / "run", judge_repeats=3)
        assert len(server.requests) == 12
        judged("mmhal", mmhal, f"{server.url}#m", tmp_path / "run", judge_repeats=3)
        assert len(server.requests) == 12, "a finished run asks nothing"
        assert found["judge"]["replies"]["mmhal"]["base"]["requests"] == 12, "all that was asked is counted"
        alone = judged("mmhal", mmhal, f"{server.url}#m", tmp_path / "alone")
        assert len(server.requests) == 12, "the first time is that of a run without repeats"
    row = value_of(found, "score")
    assert row["judge_noise"] == {"repeats": 3, "deviation": pytest.approx(1.0), "low": 2.0, "high": 4.0}
    assert {name: value for name, value in row.items() if name != "judge_noise"} == value_of(alone, "score")
    print_results(Results.from_dict(found), found)
    assert "1.000 (SD of 3 repeats, 2.000 to 4.000)" in " ".join(capsys.readouterr().out.split())


def test_what_a_judge_said_judges_again_without_it(mmhal: dict[str, Any], tmp_path: Path) -> None:
    with ChatServer(lambda body, before: f"Rating: {min(6, 2 + before + text_of(body).count('cup? 3'))}") as server:
        first = judged("mmhal-v", mmhal, f"{server.url}#gpt-x", tmp_path / "run", judge_repeats=2)
    file = tmp_path / "run/judgements.jsonl"
    assert len(file.read_text().splitlines()) == 8
    again = judged("mmhal-v", mmhal, str(file), tmp_path / "again", judge_repeats=2)
    assert again["results"] == first["results"], "under the same name: it is the same judge"
    assert again["judge"]["recorded"].startswith("sha256:")
    assert (tmp_path / "again/judgements.jsonl").read_bytes() == file.read_bytes()
    rows = file.read_text().splitlines(keepends=True)
    file.write_text("".join(row for row in rows if "cup? 2" not in row))
    fewer = judged("mmhal-v", mmhal, str(file), tmp_path / "fewer", judge_repeats=2)
    assert fewer["judge"]["replies"]["mmhal-v"]["base"]["missing"] == 2, "of each repeat"
    assert value_of(fewer, "score")["n"] == 3


def test_a_finished_run_is_not_that_of_another_file_of_judgements(mmhal: dict[str, Any], tmp_path: Path) -> None:
    with ChatServer(lambda body, before: "Rating: 5") as server:
        judged("mmhal", mmhal, f"{server.url}#gpt-x", tmp_path / "first")
    file = tmp_path / "first/judgements.jsonl"
    judged("mmhal", mmhal, str(file), tmp_path / "run")
    judged("mmhal", mmhal, str(file), tmp_path / "run")  # the same is shown
    file.write_text(file.read_text().replace("Rating: 5", "Rating: 2"))
    with pytest.raises(RunError, match="The judge has changed"):
        judged("mmhal", mmhal, str(file), tmp_path / "run")


def test_a_judges_folder_is_told_by_its_files(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder, run = tmp_path / "judge", open_run(tmp_path / "run", "evaluate", {})
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    begun = pin_identity(run, ModelRef(MODEL), {}, str(folder))
    assert begun["judge"] == pin_identity(run, ModelRef(MODEL), {}, str(folder))["judge"]
    (folder / "config.json").write_text('{"model_type": "another"}')
    with pytest.raises(RunError, match="The judge has changed"):
        refuse_other_identity(run, ModelRef(MODEL), {}, str(folder))
    shutil.rmtree(folder)
    refuse_other_identity(run, ModelRef(MODEL), {}, str(folder))
    assert f"the judge {folder}" in caplog.text


def test_what_it_costs_is_told_before_and_after(
    mmhal: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "mmpref"), ChatServer(lambda *_: "Rating: 4") as server:
        for name in ("one", "two"):
            judged("mmhal-v", mmhal, f"{server.url}#m", tmp_path / name)
        texts = [sum(map(len, map(text_of, server.requests))) // 4]
    told = [record.message for record in caplog.records if "mmhal-v" in record.message or "replied" in record.message]
    assert (
        f"about 4 answers to mmhal-v (base): some {texts[0]} tokens of text with 4 images, and replies of up to"
        in told[0]
    )
    assert re.search(r"4 new replies for [1-9]\d* and [1-9]\d* tokens", told[1])
    assert "0 new replies for 0 and 0 tokens of prompts and replies, 4 kept from before" in told[3]


def test_an_answer_is_asked_about_at_least_once(mmhal: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="judge_repeats is 0"):
        judged("mmhal", mmhal, "http://127.0.0.1:9/v1#m", tmp_path / "run", judge_repeats=0)


def test_only_mmhal_v_shows_the_image(mmhal: dict[str, Any], tmp_path: Path) -> None:
    shown = {}
    for name in ("mmhal", "mmhal-v"):
        with ChatServer(lambda body, _: "Rating: 4") as server:
            judged(name, mmhal, f"{server.url}#j", tmp_path / name)
            contents = [request["messages"][-1]["content"] for request in server.requests]
        shown[name] = sum(isinstance(content, list) and content[0]["type"] == "image_url" for content in contents)
    assert shown == {"mmhal": 0, "mmhal-v": 4}


def test_failed_and_unreadable_replies_are_missing_with_counts(
    mmhal: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def answer(body: dict, _: int) -> Any:
        text = text_of(body)
        return fault(400, "filtered") if "cup? 1" in text else "no idea" if "cup? 2" in text else "Rating: 6"

    with ChatServer(answer) as server:
        found = judged("mmhal", mmhal, f"{server.url}#j", tmp_path / "run")
    row = value_of(found, "score")
    assert (row["value"], row["n"], row["missing"]) == (6, 2, 2)
    counts = found["judge"]["replies"]["mmhal"]["base"]
    assert (counts["failed"], counts["unreadable"], counts["missing"]) == (1, 1, 2)
    assert found["missing"] == {"mmhal": {"base": 2}}
    assert "2 of 4 answers to mmhal (base) have no verdict" in caplog.text
    kept = records(tmp_path / "run", "mmhal")
    assert [one["missing"] for one in kept] == [False, True, True, False]
    assert [one["verdict"] for one in kept] == ["Rating: 6", None, "no idea", "Rating: 6"]
    assert all(one["answer"] is not None for one in kept)


def test_where_a_judge_fails_on_one_model_the_pair_is_missing(
    mmhal: dict[str, Any], adapter: Path, tmp_path: Path
) -> None:
    asked: list[str] = []

    def answer(body: dict, _: int) -> str:
        text = text_of(body)
        asked.append(text)
        return "?" if "cup? 1" in text and len(asked) > 4 else f"Rating: {4 + (len(asked) > 4)}"

    with ChatServer(answer) as server:
        found = judged("mmhal", mmhal, f"{server.url}#j", tmp_path / "run", adapter=str(adapter))
    base, other = value_of(found, "score"), value_of(found, "score", model="adapter")
    assert (base["n"], other["n"], base["missing"], other["missing"]) == (3, 3, 1, 1), "values are of the pairs"
    assert found["missing"] == {"mmhal": {"base": 0, "adapter": 1}}
    moved = next(row for row in found["differences"] if row["metric"] == base["metric"] and row["split"] == "all")
    assert moved["value"] == pytest.approx(other["value"] - base["value"]) == pytest.approx(1)
    assert (moved["first"], moved["second"]) == (base["value"], other["value"])
    assert (moved["pairs"], moved["lost"], moved["p_holm"]) == (3, 1, None)
    kept = [read_records(tmp_path / "run", model, "mmhal") for model in ("base", "adapter")]
    assert [row.missing for row in kept[0]] == [False] * 4
    assert [row.missing for row in kept[1]] == [not row.counted for row in kept[0]]
    [line] = lines_of(Results.from_dict(found))
    assert (line.verdict, line.pairs, line.lost) == ("cannot tell", 3, 1)


def test_a_judge_that_says_nothing_readable_is_an_error(mmhal: dict[str, Any], tmp_path: Path) -> None:
    with (
        ChatServer(lambda body, _: "Hello") as server,
        pytest.raises(ModelError, match=r"no readable verdict to mmhal"),
    ):
        judged("mmhal", mmhal, f"{server.url}#j", tmp_path / "run")


def test_verdicts_of_a_run_that_stopped_are_not_asked_again(mmhal: dict[str, Any], tmp_path: Path) -> None:
    with ChatServer(lambda body, _: "Rating: 4") as server:
        judge = f"{server.url}#j"
        whole = judged("mmhal", mmhal, judge, tmp_path / "run")
        (tmp_path / "run/run.json").unlink()
        file = tmp_path / "run/.mmpref/verdicts-base-mmhal.jsonl"
        lines = file.read_text().splitlines(keepends=True)
        file.write_text("".join(lines[:2]) + lines[2][:7])  # cut off while it was written
        import shutil

        shutil.rmtree(tmp_path / "cache")
        again = judged("mmhal", mmhal, judge, tmp_path / "run")
        assert len(server.requests) == 4 + 2
    assert again["results"] == whole["results"]


def test_another_prompt_is_another_metric(mmhal: dict[str, Any], tmp_path: Path) -> None:
    with ChatServer(lambda body, _: "Rating: 4") as server:
        judge = f"{server.url}#j"
        own = judged("mmhal", mmhal, judge, tmp_path / "own")
        found = judged("mmhal", mmhal, judge, tmp_path / "run", judge_prompt="Q {question} R {reference} A {answer}")
        assert text_of(server.requests[-1]).startswith("Q Where is the cup?")
    assert value_of(own, "score")["metric"] != value_of(found, "score")["metric"]
    with pytest.raises(UsageError, match=r"has no \{answer\}"):
        judged("mmhal", mmhal, judge, tmp_path / "none", judge_prompt="Rate it.")
    with pytest.raises(UsageError, match="cannot serve mmhal and mmvet"):
        evaluate(EvaluateRecipe(MODEL, ("mmhal", "mmvet"), judge="x#y", judge_prompt="{answer}"), tmp_path / "two")


def test_a_judge_is_asked_for_where_it_is_needed_and_refused_where_not(mmhal: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"mmhal is scored by a judge.*--judge"):
        evaluate(EvaluateRecipe(MODEL, ("mmhal",), benchmark={"mmhal": mmhal}), tmp_path / "run")
    with pytest.raises(UsageError, match="None of pope is judged"):
        evaluate(EvaluateRecipe(MODEL, ("pope",), judge="http://127.0.0.1:1/v1#j"), tmp_path / "run")
    rows = write_rows(tmp_path / "rows.jsonl", mmhal_rows())
    with pytest.raises(UsageError, match=r"row 0 .counted from 0. names its image by an address.*test_data\.zip"):
        judged("mmhal", {"data": str(rows)}, "http://127.0.0.1:1/v1#j", tmp_path / "run")


@pytest.mark.long
def test_a_judge_that_is_not_there_is_told_before_any_answer(mmhal: dict[str, Any], tmp_path: Path) -> None:
    for judge, reason in (
        ("http://127.0.0.1:9/v1#m", "Nobody answers at http://127.0.0.1:9/v1"),
        ("testbed-orcale", "Did you mean 'testbed-oracle'?"),
    ):
        with pytest.raises(ModelError) as raised:
            judged("mmhal", mmhal, judge, tmp_path / "run")
        assert reason in f"{raised.value} {raised.value.hint}"
        assert not (tmp_path / "run").exists(), "nothing is left"


def test_a_score_is_not_made_of_few_verdicts(mmhal: dict[str, Any], tmp_path: Path) -> None:
    with ChatServer(lambda *_: "Rating: 4") as server:
        judged("mmhal", mmhal, f"{server.url}#m", tmp_path / "run")
    file = tmp_path / "run/judgements.jsonl"
    file.write_text(file.read_text().splitlines(keepends=True)[0])
    with pytest.raises(ModelError, match=r"a verdict on 1 of 4 answers to mmhal \(base\): too few"):
        judged("mmhal", mmhal, str(file), tmp_path / "few")


def test_the_share_that_could_not_be_read_is_reported_with_an_example(
    mmhal: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with ChatServer(lambda body, _: "Rating: 10" if "cup? 1" in text_of(body) else "Rating: 5") as server:
        found = judged("mmhal", mmhal, f"{server.url}#j", tmp_path / "run")
    counts = found["judge"]["replies"]["mmhal"]["base"]
    assert (counts["read"], counts["unreadable"], counts["unreadable_share"]) == (3, 1, 0.25)
    assert counts["unreadable_example"] == "Rating: 10"
    assert value_of(found, "score")["value"] == 5
    assert "1 of 4 replies of the judge (25.0 %) could not be read" in caplog.text
    assert "'Rating: 10'" in caplog.text
    print_results(Results.from_dict(found), found)
    assert "could not be read: 25.0 %, such as 'Rating: 10'" in " ".join(capsys.readouterr().out.split())


def test_of_a_judges_reasoning_the_rating_behind_it_counts(mmhal: dict[str, Any], tmp_path: Path) -> None:
    reply = "<think>Maybe it invents the cup, so rating: 2. No, it is there.</think>\nSupported.\nRating: 5"
    with ChatServer(lambda *_: reply) as server:
        found = judged("mmhal", mmhal, f"{server.url}#j", tmp_path / "run")
    assert value_of(found, "score")["value"] == 5
    assert found["judge"]["replies"]["mmhal"]["base"]["reasoned"] == 4
    assert {row["verdict"] for row in records(tmp_path / "run", "mmhal")} == {reply}
    assert reply in json.loads((tmp_path / "run/judgements.jsonl").read_text().splitlines()[0])["reply"]
    again = judged("mmhal", mmhal, str(tmp_path / "run/judgements.jsonl"), tmp_path / "again")
    assert again["results"] == found["results"]


def test_a_judge_does_not_see_a_models_reasoning(mmhal: dict[str, Any], tmp_path: Path) -> None:
    def answer(body: dict, _: int) -> str:
        return "Rating: 4" if "### LMM" in text_of(body) else "<think>no idea</think>A cup"

    with ChatServer(answer) as server:
        evaluate(
            EvaluateRecipe(f"{server.url}#m", ("mmhal",), benchmark={"mmhal": mmhal}, judge=f"{server.url}#j"),
            tmp_path / "run",
        )
        judged_ = [text_of(body) for body in server.requests if "### LMM" in text_of(body)]
    assert len(judged_) == 4
    assert all(text.rstrip().endswith("A cup") and "no idea" not in text for text in judged_)


def test_a_judges_reply_that_was_cut_is_missing(mmhal: dict[str, Any], tmp_path: Path) -> None:
    def answer(body: dict, _: int) -> Any:
        if "cup? 1" not in text_of(body):
            return "Rating: 5"
        message = {"role": "assistant", "content": "It invents a cup, so rating: 2. But wait"}
        return JSONResponse(
            {
                "id": "x",
                "object": "chat.completion",
                "created": 0,
                "model": "m",
                "usage": None,
                "choices": [{"index": 0, "finish_reason": "length", "message": message}],
            }
        )

    with ChatServer(answer) as server:
        found = judged("mmhal", mmhal, f"{server.url}#j", tmp_path / "run")
    assert (value_of(found, "score")["value"], value_of(found, "score")["missing"]) == (5, 1)
    counts = found["judge"]["replies"]["mmhal"]["base"]
    assert [counts[name] for name in ("unfinished", "unreadable", "missing")] == [1, 0, 1]


def test_where_a_judge_refuses_the_hint_is_what_its_server_said(mmhal: dict[str, Any], tmp_path: Path) -> None:
    with (
        ChatServer(lambda *_: fault(400, "the flux is not capacitated")) as server,
        pytest.raises(ModelError) as raised,
    ):
        judged("mmhal", mmhal, f"{server.url}#j", tmp_path / "run")
    assert "the flux is not capacitated" in raised.value.hint


def test_a_judge_whose_server_takes_no_temperature_is_named_so(mmhal: dict[str, Any], tmp_path: Path) -> None:
    def answer(body: dict, _: int) -> Any:
        return fault(400, "'temperature' does not support 0") if "temperature" in body else "Rating: 4"

    for name in ("run", "again"):
        with ChatServer(answer) as server:
            found = judged("mmhal", mmhal, f"{server.url}#o-mini", tmp_path / name)
        assert "/tdefault/" in value_of(found, "score")["metric"]
        assert found["judge"]["temperature"] is None


def test_a_judge_that_was_started_with_other_weights_is_told_apart(mmhal: dict[str, Any], tmp_path: Path) -> None:
    with ChatServer(lambda _, before: f"Rating: {4 + before}") as server:
        runs = [
            judged("mmhal", mmhal, f"{server.url}#j", tmp_path / str(number), judge_revision=word)
            for number, word in enumerate(("a", "b", "a"))
        ]
    assert [value_of(run, "score")["value"] for run in runs] == [4, 5, 4]
    with pytest.raises(UsageError, match="judge is no endpoint"):
        judged("mmhal", mmhal, "testbed-oracle", tmp_path / "no", judge_revision="a")
