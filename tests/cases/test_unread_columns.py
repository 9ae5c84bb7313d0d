"""A column that is named and that nothing reads is refused by each command that takes --columns, before any work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from PIL import Image

from mmpref.bench.plan import load_plans
from mmpref.cli.main import program
from mmpref.data.builder import BUILDERS
from mmpref.data.sources import reading
from mmpref.errors import UsageError
from mmpref.recipes.schema import build
from mmpref.tables.columns import own_columns
from mmpref.tables.open import open_table

MODEL = "pkg:mmpref.testbed/model"
ROW = {"image": "red.png", "prompt": "What?", "good": "A rod.", "rejected": "A cup.", "mine": "A rod, I say.", "n": "7"}


def rows(folder: Path, *rows: dict[str, Any]) -> str:
    Image.new("RGB", (32, 32), "red").save(folder / "red.png")
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(folder / "rows.jsonl")


@pytest.mark.parametrize(
    "command",
    [
        ["build-dataset", "--method", "mix", "--source"],
        ["train", "--model", MODEL, "--dataset"],
        ["inspect"],
    ],
)
def test_an_answer_beside_a_preferred_one(command: list[str], tmp_path: Path) -> None:
    table = rows(tmp_path, ROW, ROW)
    output = [] if command == ["inspect"] else ["--output", str(tmp_path / "run")]
    words = [*command, table, "--columns", "chosen=good,answer=mine", *output]
    done = CliRunner().invoke(program, words)
    assert isinstance(done.exception, UsageError), done.output
    assert str(done.exception).startswith(
        f"--columns answer=mine changes nothing: no 'answer' is read of {table}. Leave it out"
    )


def test_what_is_read_is_not_refused(tmp_path: Path) -> None:
    table = open_table(rows(tmp_path, {**ROW, "said": ""}))
    own_columns([table], {"chosen": "good", "id": "n", "system": "said"})  # of an empty part nothing can be told
    own_columns([table], {"answer": "mine"})
    plain = {"image": "red.png", "prompt": "What?", "mine": "A rod."}
    own_columns([open_table(rows(tmp_path, ROW, plain))], {"answer": "mine", "chosen": "good"})  # each in other rows


def test_a_published_sets_own_reader_says_what_is_read(tmp_path: Path) -> None:
    builder = BUILDERS.get("povid")
    row = {
        "id": "1",
        "image": "red.png",
        "conversations": [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "A rod."}],
        "rejected_conversations": [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "A cup."}],
        "mine": "A rod.",
    }
    table = open_table(rows(tmp_path, row))
    read = reading(builder.reads(build(builder.config(), {}), 0))
    own_columns([table], {"image": "image"}, None, read)
    with pytest.raises(UsageError, match="answer=mine changes nothing"):
        own_columns([table], {"answer": "mine"}, None, read)


def test_benchmarks_refuse_what_none_of_them_reads(tmp_path: Path) -> None:
    data = rows(tmp_path, {**ROW, "question": "Is it?", "answer": "yes", "objects": ["cup"], "seen": ["cup"]})

    def load(**columns: dict[str, str]) -> None:
        settings = {name: {"data": data, "columns": named} for name, named in columns.items()}
        load_plans({name: name for name in columns}, settings, None)

    load(chair={"objects": "seen", "question_id": "n"})
    shared = {"objects": "seen", "prompt": "question"}
    load(chair=shared, pope=shared)
    with pytest.raises(UsageError, match=r"answer=mine changes nothing: no 'answer' is read of .*, the data of chair"):
        load(chair={"answer": "mine"})
    with pytest.raises(UsageError, match="id=n changes nothing"):
        load(chair={"objects": "seen", "id": "n"}, pope={"id": "n"})
