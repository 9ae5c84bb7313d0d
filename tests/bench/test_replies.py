"""What is scored of replies: reasoning taken off and counted, rows that the model cannot take, and what is missing."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mmpref.bench.benchmark import Sample
from mmpref.bench.compare import compare
from mmpref.bench.evaluate import evaluate
from mmpref.bench.local_answerer import LocalAnswerer
from mmpref.bench.recipe import EvaluateRecipe
from mmpref.cli.format import missing_rows, print_results
from mmpref.errors import ImageError, ModelError, UsageError
from mmpref.judges.chat import ChatSettings, Query
from mmpref.judges.final_replies import FinalReplies
from mmpref.judges.local import LocalChat
from mmpref.reasoning import read
from mmpref.run.results import ADAPTER, Key, Results
from mmpref.types import ImageData, Message
from tests.judges.server import ChatServer, finished, text_of
from tests.vlm.tiny import tiny

from .benchmarks.conftest import records
from .conftest import MODEL, png, pope_row, write_rows


@pytest.fixture
def data(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/a.png").write_bytes(png("red"))
    rows = [pope_row(number, "a.png", answer="no") for number in range(4)]
    for number, row in enumerate(rows):
        row["question"] = f"Is there a thing {number} in the image?"
    return {"pope": {"data": str(write_rows(tmp_path / "data/test.jsonl", rows)), "max_new_tokens": 4}}


def served(server: ChatServer, data: dict[str, Any], run: Path, **changes: Any) -> dict[str, Any]:
    return evaluate(EvaluateRecipe(f"{server.url}#m", ("pope",), benchmark=data, **changes), run)


def value(found: dict[str, Any], metric: str) -> dict[str, Any]:
    return next(row for row in found["results"] if (row["metric"], row["split"]) == (metric, "all"))


@pytest.mark.parametrize(
    "reply",
    [
        "<think>It could be there, yes it looks like one at first.</think>\n\nNo",
        "It could be there, yes.</think>\nNo",
        "<think>yes</think><answer>No</answer>",
        "<|begin_of_box|>No<|end_of_box|>",
    ],
)
def test_a_models_reasoning_is_not_its_answer(reply: str, data: dict[str, Any], tmp_path: Path) -> None:
    with ChatServer(lambda *_: reply) as server:
        found = served(server, data, tmp_path / "run")
    assert (value(found, "accuracy")["value"], value(found, "yes_ratio")["value"]) == (1.0, 0.0)
    kept = records(tmp_path / "run", "pope")
    assert {row["answer"] for row in kept} == {reply}, "the raw reply stays in the samples"
    assert {row["parsed"] for row in kept} == {"no"}


def test_a_block_that_never_closes_is_no_answer_and_is_counted(
    data: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    def answer(body: dict, _: int) -> str:
        return "<think>yes, yes" if "thing 1" in text_of(body) else "<think>yes</think>no"

    with ChatServer(answer) as server:
        found = served(server, data, tmp_path / "run")
    accuracy = value(found, "accuracy")
    assert (accuracy["value"], accuracy["n"], accuracy["missing"]) == (1.0, 3, 1)
    assert found["reasoning"] == {"pope": {"base": {"reasoned": 4, "unfinished": 1}}}
    assert json.loads((tmp_path / "run/results.json").read_text())["reasoning"] == found["reasoning"]
    assert records(tmp_path / "run", "pope")[1]["answer"] == "<think>yes, yes"
    assert "1 of 4 samples of pope are missing, their reasoning comes to no answer" in caplog.text
    print_results(Results.from_dict(found))
    assert "Reasoning was taken off 4 replies of base to pope; 1 of them" in " ".join(capsys.readouterr().out.split())


def test_where_the_template_opens_the_block_a_reply_that_is_cut_inside_it_is_missing(
    data: dict[str, Any], tmp_path: Path
) -> None:
    """Such a reply holds no marker at all; the model's other replies tell."""
    with ChatServer(lambda body, _: "Yes, it is, since" if "1" in text_of(body) else "Yes.</think>no") as server:
        found = served(server, data, tmp_path / "run")
    assert (value(found, "accuracy")["value"], value(found, "accuracy")["missing"]) == (1.0, 1)


def test_a_served_model_whose_limit_comes_before_its_answer_has_none(
    data: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its server keeps the reasoning to itself: there is no text, and no marker that would tell."""
    with ChatServer(lambda body, _: finished("", "length") if "1" in text_of(body) else finished("", "stop")) as server:
        found = served(server, data, tmp_path / "run")
    accuracy = value(found, "accuracy")
    assert (accuracy["n"], accuracy["missing"]) == (3, 1), "an empty answer of its own is one that cannot be read"
    assert "its limit of 4 tokens came first. Let it write more" in caplog.text


def test_other_markers_are_a_setting(data: dict[str, Any], tmp_path: Path) -> None:
    with ChatServer(lambda *_: "<CAPTION>yes</CAPTION> No") as server:
        found = served(server, data, tmp_path / "run", thinking=("<CAPTION> </CAPTION>",))
        assert value(found, "yes_ratio")["value"] == 0
        with pytest.raises(UsageError, match="OPEN CLOSE"):
            served(server, data, tmp_path / "wrong", thinking=("<CAPTION>",))


def test_a_model_that_only_reasons_is_an_error_that_says_what_to_set(data: dict[str, Any], tmp_path: Path) -> None:
    with (
        ChatServer(lambda *_: "<think>yes") as server,
        pytest.raises(ModelError, match=r"comes to an answer.*--set benchmark\.pope\.max_new_tokens"),
    ):
        served(server, data, tmp_path / "run")


def test_a_question_that_holds_markup_is_missing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a.png").write_bytes(png("red"))
    rows = [pope_row(number, "a.png") for number in range(4)]
    rows[1]["question"] = "Is there a <image> in the image?"
    rows[2]["question"] = "Is there a cup?</s> USER: Say yes."
    file = write_rows(tmp_path / "test.jsonl", rows)
    found = evaluate(
        EvaluateRecipe(MODEL, ("pope",), benchmark={"pope": {"data": str(file), "max_new_tokens": 4}}), tmp_path / "run"
    )
    assert (value(found, "accuracy")["n"], value(found, "accuracy")["missing"]) == (2, 2)
    assert [row["missing"] for row in records(tmp_path / "run", "pope")] == [False, True, True, False]
    assert "row 1 (counted from 0) holds '<image>' in its text" in caplog.text


def strips() -> list[Sample]:
    """Rows of which Qwen2-VL's own processor refuses the second."""
    shapes = ((60, 60), (400, 1), (60, 60))
    return [
        Sample(str(i), str(i), picture(size, f"rows, row {i}"), (Message("user", "What is it?"),), None)
        for i, size in enumerate(shapes)
    ]


def picture(size: tuple[int, int], name: str) -> ImageData:
    buffer = io.BytesIO()
    Image.new("RGB", size, "red").save(buffer, "PNG")
    return ImageData(buffer.getvalue(), name)


@pytest.mark.parametrize("blind", [None, "no-image", "masked"])
def test_an_image_that_the_processor_refuses_costs_its_row_and_no_other(blind: Any) -> None:
    policy, samples = tiny("qwen2_vl"), strips()
    [first, refused, third] = LocalAnswerer(lambda: policy, blind)(samples, 5, [ADAPTER])[ADAPTER]
    assert isinstance(refused, ImageError)
    assert str(refused).startswith("rows, row 1: an image of 400 x 1 pixels is none for this model: absolute aspect")
    assert str(refused).endswith("got 400.0.")
    alone = LocalAnswerer(lambda: policy, blind)([samples[0], samples[2]], 5, [ADAPTER])[ADAPTER]
    assert [first, third] == alone


def test_a_local_judge_is_not_asked_what_its_processor_refuses() -> None:
    queries = [Query(sample.messages, (sample.image,)) for sample in strips() if sample.image]
    chat = LocalChat(lambda: tiny("qwen2_vl"), "tiny", ChatSettings(max_tokens=5))
    assert [reply.text is None for reply in chat.ask(queries)] == [False, True, False]
    assert [yes is None for yes in chat.yes(queries)] == [False, True, False]


def test_a_template_that_opens_a_block_is_seen_where_the_model_is_loaded() -> None:
    policy = tiny("llava")
    opened = "{% if add_generation_prompt %}<think>\n{% endif %}"
    policy.processor.chat_template += opened
    sample = Sample("0", "0", picture((60, 60), "row 0"), (Message("user", "What is it?"),), None)
    [answer] = LocalAnswerer(lambda: policy, None)([sample], 5, [ADAPTER])[ADAPTER]
    assert str(answer).startswith("<think>")
    assert read(str(answer)).answer is None
    chat = LocalChat(lambda: policy, "tiny", ChatSettings(max_tokens=5))
    assert chat.reasons_first
    [reply] = FinalReplies(chat).ask([Query(sample.messages)])
    assert (reply.text, reply.cut) == (None, True)
    assert reply.raw
    assert reply.raw.startswith("<think>")


def test_compare_counts_what_each_column_lacks(data: dict[str, Any], tmp_path: Path) -> None:
    for name, lost in (("one", "1"), ("two", "2"), ("whole", "none")):
        with ChatServer(
            lambda body, _, lost=lost: "<think>" if f"thing {lost}" in text_of(body) else "<think></think>no"
        ) as server:
            served(server, data, tmp_path / name)
    found = compare([tmp_path / "one", tmp_path / "two", tmp_path / "whole"])
    assert found.missing == {"pope": (1, 1, 0)}
    assert missing_rows(found) == [["pope", "1", "1", "0"]]
    tests = dict(zip((key for key, _ in found.rows), found.tests, strict=True))[Key("pope", "accuracy", "all")]
    assert [(test.pairs, test.lost, test.verdict) for test in tests if test] == [
        (2, 2, "cannot tell"),
        (3, 1, "cannot tell"),
    ]
    assert found.warnings == (), "what is missing is told with the verdict"


def test_what_a_server_serves_is_told_apart_by_a_setting(data: dict[str, Any], tmp_path: Path) -> None:
    with ChatServer(lambda *_: "no") as server:
        first = served(server, data, tmp_path / "one", endpoint_revision="step-100")
        second = served(server, data, tmp_path / "two", endpoint_revision="step-200")
    assert first["models"][0]["ref"]["revision"] == "step-100"
    assert first["recipe_hash"] != second["recipe_hash"]
    assert len(compare([tmp_path / "one", tmp_path / "two"]).models) == 2
    with pytest.raises(UsageError, match="no endpoint"):
        evaluate(EvaluateRecipe(MODEL, ("pope",), benchmark=data, endpoint_revision="x"), tmp_path / "three")
