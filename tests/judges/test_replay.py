"""Files of judgements: read whole or refused by row; only what was asked exactly so is answered."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from mmpref.bench.score import write_judgements
from mmpref.errors import InputError
from mmpref.judges.chat import Query
from mmpref.judges.replay import ReplayChat, judgement_row
from mmpref.judges.resolve import open_annotator
from mmpref.types import ImageData, Message
from tests.bench.conftest import png

JUDGE = {"model": "gpt-x", "temperature": 0.0}
QUERY = Query((Message("system", "You judge."), Message("user", "Is it so? é")), (ImageData(png("red"), "it"),))


def written(folder: Path, *rows: object) -> Path:
    file = folder / "judgements.jsonl"
    file.write_text("".join(json.dumps(one) + "\n" for one in rows))
    return file


def test_only_the_same_question_is_answered(tmp_path: Path) -> None:
    again = dataclasses.replace(QUERY, repeat=1)
    chat = ReplayChat(written(tmp_path, judgement_row(JUDGE, QUERY, "Yes."), judgement_row(JUDGE, again, "No.")))
    others = [
        dataclasses.replace(QUERY, images=()),
        dataclasses.replace(QUERY, images=(ImageData(png("blue"), "it"),)),
        dataclasses.replace(QUERY, messages=QUERY.messages[1:]),
        dataclasses.replace(QUERY, repeat=2),
    ]
    replies = chat.ask([QUERY, again, *others])
    assert [reply.text for reply in replies] == ["Yes.", "No.", None, None, None, None]
    assert "has no judgement of it" in replies[2].error
    assert (chat.identity["model"], chat.identity["temperature"]) == ("gpt-x", 0.0)


@pytest.mark.parametrize("mark", ["\u2028", "\u2029", "\x85"])
def test_marks_that_end_a_line_elsewhere_end_no_judgement(mark: str, tmp_path: Path) -> None:
    query = Query((Message("user", f"Is it{mark} so?"),))
    write_judgements(tmp_path, [judgement_row(JUDGE, query, f"Yes{mark}.")])
    file = tmp_path / "judgements.jsonl"
    assert mark in file.read_text(encoding="utf-8")
    assert ReplayChat(file).ask([query])[0].text == f"Yes{mark}."


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "holds no judgements"),
        ([judgement_row(JUDGE, QUERY, "Yes."), {"reply": "Yes."}], "line 2, is no judgement"),
        (
            [judgement_row(JUDGE, QUERY, "Yes."), judgement_row({"model": "other"}, QUERY, "No.")],
            "line 2, is of another judge",
        ),
        ([["a", "list"]], "line 1, is no judgement"),
    ],
)
def test_what_is_wrong_is_told_by_row(rows: list[object], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        ReplayChat(written(tmp_path, *rows))
    with pytest.raises(InputError, match="Cannot read"):
        open_annotator(str(tmp_path / "none.jsonl"))
