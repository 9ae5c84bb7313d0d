"""Cases 15 to 17, 27, 29 and 32: what judges, servers and models write, and benchmarks' own files."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from starlette.responses import JSONResponse, Response

from mmpref.images import decode
from mmpref.registry import resolve_path
from mmpref.types import ImageData
from tests.judges.server import ChatServer, fault

from .commands import HERE, MODEL, done, refused, value

BENCH, IMAGES = HERE / "bench", HERE / "images"
REPLIES: dict[str, str] = json.loads((BENCH / "c10_replies.json").read_text(encoding="utf-8"))
POPE = ("evaluate", "--benchmark", "pope")
UNSUPPORTED = "Unsupported {}: '{}' is not supported with this model."


def stub(body: dict[str, Any], _: int) -> str | Response:
    """The model's name chooses the reply; ``o-`` models refuse what reasoning models refuse."""
    name = body["model"]
    if name.startswith("o-"):
        if "max_tokens" in body:
            return fault(400, f"{UNSUPPORTED.format('parameter', 'max_tokens')} Use 'max_completion_tokens' instead.")
        if body.get("temperature", 1) != 1:
            return fault(400, UNSUPPORTED.format("value", "temperature"))
        name = "plain"
    if name not in ("null", "cut"):
        return REPLIES[name]
    message = {"role": "assistant", "content": REPLIES.get(name), "reasoning_content": "thinking ..."}
    return JSONResponse(
        {
            "id": "x",
            "object": "chat.completion",
            "created": 1,
            "model": name,
            "usage": None,
            "choices": [{"index": 0, "finish_reason": "length", "message": message}],
        }
    )


pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def server() -> Any:
    with ChatServer(stub) as running:
        yield running


def judged(server: ChatServer, name: str, run: Path) -> tuple[object, ...]:
    return ("evaluate", "--benchmark", "mmhal", "--limit", 3, "--judge", f"{server.url}#{name}", "--output", run)


@pytest.mark.parametrize("name", [*sorted(REPLIES.keys() - {"ten", "float", "cut", "thinkyes", "thinkno"}), "o-mini"])
def test_every_form_of_a_judges_rating_is_that_rating(name: str, server: ChatServer, tmp_path: Path) -> None:
    found = value(done(*judged(server, name, tmp_path / "run")), "score")
    assert (found["value"], found["n"], found["missing"]) == (5, 3, 0)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("ten", r"'Excellent.\nRating: 10'"),
        ("float", r"'Supported.\nRating: 4.5'"),
        ("cut", "cut at its limit of 1024 tokens"),
        ("null", "no text (finish reason length)"),
    ],
)
def test_what_is_no_rating_is_no_score(name: str, said: str, server: ChatServer, tmp_path: Path) -> None:
    message = refused(*judged(server, name, tmp_path / "run"))
    assert "gave no readable verdict" in message
    assert said in message


def test_a_model_and_an_annotator_that_refuse_max_tokens_are_asked_otherwise(
    server: ChatServer, tmp_path: Path
) -> None:
    spec = f"{server.url}#o-mini"
    found = done(
        *POPE,
        "--model",
        spec,
        "--set",
        f"benchmark.pope.data={BENCH / 'c11_pope_official.json'}",
        "--set",
        f"benchmark.pope.images={BENCH / 'img'}",
        "--output",
        tmp_path / "scores",
    )
    assert value(found, "accuracy")["n"] == 4
    built = done(
        "build-dataset",
        "--method",
        "corrupt",
        "--annotator",
        spec,
        "--source",
        "testbed",
        "--limit",
        3,
        "--output",
        tmp_path / "pairs",
    )
    assert built["counts"] == {"rows": 3, "skipped": {}}


@pytest.mark.parametrize(
    ("file", "rows"),
    [
        ("c11_pope_official.json", 4),
        ("c11_pope_odd_answers.jsonl", 4),
        ("c11_pope_bool.jsonl", 2),
        ("c11_pope_missing_images.jsonl", 2),
    ],
)
def test_pope_however_its_rows_are_written(file: str, rows: int, tmp_path: Path) -> None:
    data = ("--model", MODEL, "--set", f"benchmark.pope.data={BENCH / file}", "--output", tmp_path / "run")
    found = done(*POPE, *data, "--set", f"benchmark.pope.images={BENCH / 'img'}")
    assert (value(found, "accuracy")["n"], value(found, "accuracy")["missing"]) == (rows, 0)


def test_missing_images_of_pope_say_one_thing(tmp_path: Path) -> None:
    file = BENCH / "c11_pope_missing_images.jsonl"
    said = refused(*POPE, "--model", MODEL, "--set", f"benchmark.pope.data={file}", "--output", tmp_path / "run")
    assert r"row 0 (counted from 0) (no image file 'C:\\coco\\s0.png' under" in said
    assert "--image-root" in said
    assert "0 bytes" not in said


@pytest.mark.parametrize("mark", ["utf-8-sig", "utf-16"])
def test_another_encoding_of_chairs_words_is_no_other_number(mark: str, tmp_path: Path) -> None:
    chair = ("evaluate", "--benchmark", "chair", "--limit", 8, "--set", "benchmark.chair.data=testbed-chair", "--set")
    own = Path(resolve_path("pkg:mmpref.testbed/synonyms.txt"))
    words = tmp_path / "synonyms.txt"
    words.write_bytes(own.read_text(encoding="utf-8").replace("\n", "\r\n").encode(mark))
    runs = [
        done(*chair, f"benchmark.chair.synonyms={path}", "--output", tmp_path / f"run{number}")["results"]
        for number, path in enumerate((own, words))
    ]
    numbers = [[(row["metric"], row["value"], row["low"]) for row in run] for run in runs]
    assert numbers[0] == numbers[1]


def test_a_served_model_is_shown_what_a_loaded_one_sees(server: ChatServer, tmp_path: Path) -> None:
    file = IMAGES / "pope_served.jsonl"
    done(*POPE, "--model", f"{server.url}#plain", "--set", f"benchmark.pope.data={file}", "--output", tmp_path / "run")
    names = [json.loads(line)["image"] for line in file.read_text().splitlines()]
    seen = {decode(ImageData((IMAGES / name).read_bytes(), name)).tobytes() for name in names}
    sent = []
    for body in server.requests:
        [part] = [part for part in body["messages"][-1]["content"] if part["type"] == "image_url"]
        picture = Image.open(io.BytesIO(base64.b64decode(part["image_url"]["url"].partition(",")[2])))
        assert (picture.mode, getattr(picture, "n_frames", 1), dict(picture.getexif())) == ("RGB", 1, {})
        sent.append(picture.tobytes())
    assert (len(sent), set(sent)) == (len(names), seen)


@pytest.mark.parametrize(("name", "yes"), [("thinkno", 0.0), ("thinkyes", 1.0)])
def test_of_a_thinking_models_reply_the_answer_counts(
    name: str, yes: float, server: ChatServer, tmp_path: Path
) -> None:
    found = done(
        *POPE,
        "--model",
        f"{server.url}#{name}",
        "--limit",
        6,
        "--set",
        "benchmark.pope.data=testbed-pope",
        "--output",
        tmp_path / "run",
    )
    assert value(found, "yes_ratio")["value"] == yes
    assert value(found, "yes_ratio")["parse_failures"] == 0
