"""Whatever a row of a published set holds, a reader gives pairs or reasons, and never breaks."""

from __future__ import annotations

import copy
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmpref.data.builder import BUILDERS
from mmpref.data.builders import llava_rlhf
from mmpref.data.builders.vlfeedback import VLFeedbackSettings, completions_of
from mmpref.data.sources import Source
from mmpref.errors import InputError
from mmpref.recipes.schema import build
from mmpref.tables.messages import Unusable
from mmpref.tables.rows import read_row
from mmpref.tables.table import Table
from mmpref.types import Example, Skip

from . import released, shapes

SETS = {
    "vlfeedback": shapes.vlfeedback_files,
    "povid": shapes.povid,
    "rlhf-v": shapes.rlhf_v,
    "rlaif-v": shapes.rlaif_v,
    "llava-rlhf": shapes.llava_rlhf,
    "dress": shapes.dress,
    "hsa-dpo": released.hsa_dpo,
    "symmpo": released.symmpo,
}
JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=4)
    | st.sampled_from(["N/A", "nan", "5"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=4,
)


class Raw(dict[str, list[dict[str, Any]]]):
    """Rows of every set as its files have them."""

    def __repr__(self) -> str:
        return f"rows of {', '.join(self)}"


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Raw:
    found = Raw()
    for name, write in SETS.items():
        folder = tmp_path_factory.mktemp(name)
        write(folder)
        found[name] = [
            row
            for file in sorted(folder.rglob("*"))
            if file.name not in ("instruction_source.jsonl", "hsa_dpo_detection.jsonl") and "VLSafe" not in str(file)
            for row in _rows(file)
        ]
    return found


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    if file.suffix == ".parquet":
        yield from pq.read_table(file).to_pylist()
    elif file.suffix == ".json":
        yield from json.loads(file.read_text())
    elif file.suffix == ".jsonl":
        yield from map(json.loads, file.read_text().splitlines())


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from _places(inner, (*path, key))


def _broken(row: dict[str, Any], place: tuple[Any, ...], junk: Any) -> dict[str, Any]:
    row = copy.deepcopy(row)
    *parents, last = place
    target: Any = row
    for key in parents:
        target = target[key]
    if junk is ...:
        del target[last]
    else:
        target[last] = junk
    return row


def _outcomes(name: str, rows: list[dict[str, Any]]) -> list[Example | Skip]:
    builder = BUILDERS.get(name)
    assert builder.reader is not None
    table = Table(name, "train", None, "", None, lambda: iter(rows))
    source = Source(table, reader=builder.reader(build(builder.config(), {}), 0))
    return [row for _, block in source.blocks(4, lambda _: True) for row in block]


@pytest.mark.parametrize("name", SETS)
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), junk=JUNK | st.just(...))
def test_any_cell_may_be_broken(raw: Raw, name: str, seed: int, junk: Any) -> None:
    draw = random.Random(seed)
    row = draw.choice(raw[name])
    broken = _broken(row, draw.choice(list(_places(row))), junk)
    if name == "rlaif-v" and "question" not in broken:
        return  # That is the other shape, which the source checks as it does any.
    # A row before it holds the shape, as in a file.
    try:
        [*_, outcome] = _outcomes(name, [raw[name][0], broken])
    except InputError as error:
        if not re.search(
            r"None of the \d+ images|The only image", str(error)
        ):  # which are not here, and that is told at once
            raise
        return
    assert isinstance(outcome, (Example, Skip))
    if isinstance(outcome, Skip):
        assert outcome.reason


def test_a_mapping_of_lists_is_the_list_of_answers() -> None:
    row = shapes.vlfeedback_rows()[0]
    answers = row["completions"]
    turned = {name: [answer[name] for answer in answers] for name in answers[0]}
    assert completions_of({**row, "completions": turned}) == completions_of(row)
    assert [answer.rating for answer in completions_of(row)] == [5.0, 3.0, 5.0, None]
    with pytest.raises(Unusable) as error:
        completions_of({"completions": {**turned, "model": ["one"]}})
    assert (error.value.reason, error.value.detail) == ("malformed", "completions has columns of different lengths")
    with pytest.raises(Unusable, match="malformed"):
        completions_of({"completions": {**turned, "response": []}})


def test_roles_are_known_in_capitals_too() -> None:
    turns = [{"from": "Human", "value": "Is it red?"}, {"from": "GPT", "value": "Replaced."}]
    outputs = {"output_1": {"value": "Yes."}, "output_2": {"value": "No."}, "preference": 2}
    [pair] = llava_rlhf.read({"conversations": turns, **outputs})
    assert (pair["prompt"], pair["chosen"], pair["rejected"]) == (turns[:1], "No.", "Yes.")


def test_pair_rules_draw_by_seed_and_row() -> None:
    """Of equally rated best answers each is taken for some rows; the same one for a row and a seed."""
    row = shapes.vlfeedback_rows()[0]
    read = BUILDERS.get("vlfeedback").reader
    assert read is not None

    def chosen(rule: str, seed: int) -> list[str]:
        settings = build(VLFeedbackSettings, {"pairs": rule})
        made = [list(read(settings, seed)({**row, "id": f"llava-{n}"})) for n in range(40)]
        return [f"{pair['chosen_model']}>{pair['rejected_model']}" for [pair] in made]  # type: ignore[union-attr,index]

    for rule in ("best-worst", "one-per-prompt"):
        assert set(chosen(rule, 0)) == {"gpt4v>llava-7b", "qwen-vl-chat>llava-7b"}
        assert chosen(rule, 0) == chosen(rule, 0)
        assert chosen(rule, 0) != chosen(rule, 1)
    ratings = {"a": "5", "b": "3", "c": "1"}
    row["completions"] = [shapes.answer(name, name, (rating,) * 3) for name, rating in ratings.items()]
    assert set(chosen("best-worst", 0)) == {"a>c"}
    assert set(chosen("one-per-prompt", 0)) == {"a>b", "a>c"}
    assert [pair["id"] for pair in read(build(VLFeedbackSettings, {"pairs": "all-pairs"}), 0)(row)] == [  # type: ignore[index]
        "llava-reasoning-3730/0-1",
        "llava-reasoning-3730/0-2",
        "llava-reasoning-3730/1-2",
    ]


def test_a_row_that_gives_nothing_is_counted() -> None:
    table = Table("t", "train", None, "", None, lambda: iter([{"id": "x"}]))
    [(_, [skip])] = Source(table, reader=lambda row: []).blocks(1, lambda _: True)
    assert skip == Skip("x", "no-pair")


def test_the_conversational_shape_reads_without_a_reader() -> None:
    """LLaMA-Factory's preference sets: the prompt as conversations, each answer one message."""
    row = {
        "conversations": [{"from": "human", "value": "<image>Why?"}],
        "chosen": {"from": "gpt", "value": "So."},
        "rejected": {"from": "gpt", "value": "No."},
    }
    read = read_row(row, "here")
    assert read.shape == ("conversations", "chosen")
    assert [*(turn.content for turn in read.prompt), read.chosen] == ["Why?", "So."]
