"""The same rows in every command: what `inspect` calls fine, `train` takes, and the other way round."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from mmpref.cli.main import program

MODEL = "pkg:mmpref.testbed/model"
CASES = Path(__file__).parents[1] / "cases" / "rows"
SMALL = ("--set", "trainer.max_steps=1", "--set", "trainer.per_device_train_batch_size=1", "--set", "lora.r=2")


def run(*arguments: object) -> dict[str, Any]:
    done = CliRunner().invoke(program, [*map(str, arguments), "--json"])
    assert done.exit_code == 0, (done.output, done.exception)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_build_leaves_out_special_tokens_and_tells(tmp_path: Path) -> None:
    """`</s>` in an answer, `</s><assistant>` in a prompt; `<user>` is text to this model."""
    manifest = run(
        "build-dataset",
        "--model",
        MODEL,
        "--source",
        CASES / "c14/rows.jsonl",
        "--limit",
        8,
        "--set",
        "builder.similarity_model=pkg:mmpref.testbed/embedder",
        "--set",
        "builder.iterations=1",
        "--output",
        tmp_path / "run",
    )
    skipped = manifest["counts"]["skipped"]
    assert skipped["special-token"] == 2, skipped
    assert skipped["image-placement"] == 1
    report = json.loads((tmp_path / "run/report.json").read_text())
    first = report["skipped"]["special-token"]["first"][0]
    assert (first["id"], first["detail"]) == ("eos_in_answer", "chosen contains </s>")


def pairs(folder: Path) -> Path:
    """Paths of another machine, a placeholder in the prompt, answers equal but for white space, an end of sequence,
    words that the model does not know."""
    folder.mkdir()
    good = {
        "images": ["/data/elsewhere/s0.png"],
        "prompt": "<image>\nWhat is it?",
        "chosen": "A red cup.",
        "rejected": "A dog.",
    }
    rows = [
        good,
        {
            **good,
            "images": ["s1.png"],
            "prompt": [{"role": "user", "content": [{"type": "text", "text": "What is it?"}, {"type": "image"}]}],
        },
        {**good, "rejected": " A red  cup.\n"},
        {**good, "rejected": "A </s> dog."},
        {**good, "images": ["gone.png"]},
        {**good, "chosen": "A glorbix.", "rejected": "A wumplet."},
    ]
    file = folder / "pairs.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("s0.png", "s1.png"):
        shutil.copy(CASES / "c16" / name, folder)
    return folder


def test_inspect_and_train_agree(tmp_path: Path, images: Path) -> None:
    file = pairs(tmp_path / "data")
    trained = run(
        "train", "--model", MODEL, "--dataset", file, "--image-root", images, *SMALL, "--output", tmp_path / "run"
    )
    assert trained["counts"] == {
        "rows": 2,
        "skipped": {"equal-answers": 1, "equal-tokens": 1, "missing-image": 1, "special-token": 1},
        "changed": {"image_paths_shortened": 1, "images_moved_first": 1},
    }
    report = run("inspect", file, "--image-root", images, "--model", MODEL)
    problems = {kind: entry["first"][0]["row"] for kind, entry in report["problems"].items()}
    assert problems == {"equal-answers": 2, "special-token": 3, "bad-image": 4, "equal-tokens": 5}
    assert report["under_model"]["rows"] == report["usable"] == 2


@pytest.mark.parametrize("name", ["c05_lf_dpo.jsonl", "c07_implicit.jsonl", "c03_swift.jsonl"])
def test_pairs_of_other_tools_train_as_they_are(tmp_path: Path, name: str) -> None:
    trained = run("train", "--model", MODEL, "--dataset", CASES / name, *SMALL, "--output", tmp_path / "run")
    assert trained["counts"]["skipped"] == {}
    assert run("inspect", CASES / name)["problems"] == {}


def test_a_mix_of_an_ms_swift_set(tmp_path: Path) -> None:
    manifest = run(
        "build-dataset", "--method", "mix", "--source", CASES / "c03_swift_messages.jsonl", "--output", tmp_path / "run"
    )
    assert manifest["counts"] == {"rows": 1, "skipped": {}}


def test_a_report_stays_short_whatever_the_cells_hold(tmp_path: Path, images: Path) -> None:
    row = {"question": "What is it?", "answer": "A cup."}
    other = {"question": "How many?", "answer": "There are two stars.", "image": "s1.png"}
    cells = ["s0.png", *("data:image/png;base64," + "A" * 300_000 for _ in range(5)), "x" * 300_000]
    rows = [other, *({**row, "image": cell} for cell in cells)]
    (images / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    manifest = run(
        "build-dataset", "--method", "mismatched", "--source", images / "rows.jsonl", "--output", tmp_path / "run"
    )
    assert manifest["counts"]["skipped"]["bad-image"] == 6
    assert (tmp_path / "run/report.json").stat().st_size < 30_000
