"""Answers of a step that the model's chat template does not write are left out by row and reason."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import pytest

from mmpref.align.pair_source import SampledPairs, WritablePairs
from mmpref.align.preference_data import REJECTED_POLICY, ROW
from mmpref.align.train import train
from mmpref.errors import RunError
from mmpref.types import ModelRef, text_of
from mmpref.vlm.load import load_policy
from mmpref.vlm.policy import Policy
from tests.cases.variants import copy as copied

from .conftest import MODEL
from .test_online import SHORT, recipe, rows_and_images, source_of

RAISES = "{{%- for turn in messages if turn.role == 'assistant' and {!r} in turn.content[0].text -%}}" + (
    "{{{{- raise_exception('not that') -}}}}{{%- endfor -%}}"
)
REASON = "chat-template"


def refusing(policy: Policy, text: str) -> Policy:
    """The same policy, whose template refuses answers with a text."""
    policy, policy.processor = copy.copy(policy), copy.copy(policy.processor)
    policy.prompter = copy.copy(policy.prompter)
    policy.prompter.processor = policy.processor
    policy.processor.chat_template = RAISES.format(text) + policy.processor.chat_template
    return policy


def writable(policy: Policy, source: object) -> WritablePairs:
    return WritablePairs(source, policy.prompter.refused, lambda row: f"rows.jsonl, row {row}")  # type: ignore[arg-type]


@pytest.mark.parametrize("gamma", [0, 0.5])
def test_a_row_whose_fresh_answer_is_refused_is_named_and_left_out(
    gamma: float, caplog: pytest.LogCaptureFixture
) -> None:
    rows, images = rows_and_images(4)
    policy = load_policy(ModelRef(MODEL))
    column = REJECTED_POLICY if gamma else "rejected"
    drawn = source_of("povid", policy, images, gamma=gamma)(rows, 0)
    answers = {int(row[ROW]): text_of(row[column]) for row in drawn.rows}
    assert len({*answers.values()}) == 4
    strict = refusing(policy, answers[2])
    with caplog.at_level("WARNING", "mmpref"):
        made = writable(strict, source_of("povid", strict, images, gamma=gamma))(rows, 0)
    assert {int(row[ROW]): text_of(row[column]) for row in made.rows} == {
        number: answer for number, answer in answers.items() if number != 2
    }
    assert made.counts == {**drawn.counts, "used": 3, REASON: 1}
    name = "rejected_policy" if gamma else "rejected"
    assert [one.getMessage() for one in caplog.records] == [
        f"rows.jsonl, row 2 is left out of this step: {name}: the model's chat template refuses it: not that"
    ]


def test_so_is_one_whose_own_answer_cannot_be_gone_on_from(caplog: pytest.LogCaptureFixture) -> None:
    """A method looks for an answer's place in the format before anything is written."""
    rows, images = rows_and_images(4)
    policy = load_policy(ModelRef(MODEL))
    plain = source_of("povid", policy, images)(rows, 0)
    strict = refusing(policy, text_of(rows[1]["chosen"]))
    with caplog.at_level("WARNING", "mmpref"):
        made = writable(strict, source_of("povid", strict, images))(rows, 0)
    assert [text_of(row["rejected"]) for row in made.rows] == [
        text_of(row["rejected"]) for row in plain.rows if row[ROW] != 1
    ]
    assert (made.counts["rows"], made.counts["used"], made.counts[REASON]) == (4, 3, 1)
    assert "rows.jsonl, row 1 is left out" in caplog.text


def test_pairs_that_the_template_writes_stay_as_they_are() -> None:
    rows, images = rows_and_images(4)
    policy = load_policy(ModelRef(MODEL))
    source = source_of("povid", policy, images)
    drawn, made = source(rows, 0), writable(policy, source)(rows, 0)
    assert made == SampledPairs(list(drawn.rows), drawn.counts)


def test_a_run_all_of_whose_answers_are_refused_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows, images = rows_and_images(4)
    data = tmp_path / "rows.jsonl"
    for row, image in zip(rows, images, strict=True):
        (tmp_path / f"{row[ROW]}.png").write_bytes(image.content)
        asked = {"image": f"{row[ROW]}.png", "prompt": text_of(row["prompt"]), "chosen": "Yes.", "rejected": "No."}
        data.open("a").write(json.dumps(asked) + "\n")
    model = copied(tmp_path / "model")
    template = model / "chat_template.jinja"
    template.write_text(RAISES.format(" a ") + template.read_text())
    online = replace(recipe("online-dpo", data, trainer=SHORT), model=str(model))
    with caplog.at_level("WARNING", "mmpref"), pytest.raises(RunError, match=f"No step gave a pair: .* {REASON}"):
        train(online, tmp_path / "run")
    assert "row 0 (counted from 0) is left out of this step: " in caplog.text
