"""What stands at the paths that a plan's settings name decides what is measured, not what they are called."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from mmpref.study import plan
from mmpref.study.identity import content_identity, model_identity
from mmpref.study.schedule import Schedule
from tests.study.conftest import PLAN, WritePlan
from tests.study.pretended import schedule_of

ROWS = {"base": {}, "bdhs": {**PLAN["rows"]["bdhs"], "grid": "none"}}


def _hashes(path: Path) -> tuple[str, str, str]:
    """Of the pairs, the training and the evaluation on test of the row BDHS, as the next session has them."""
    content_identity.cache_clear()
    model_identity.cache_clear()
    made = plan.load(str(path))
    job = Schedule(made, path.parent / "study", list(made.rows)).composer.job(made.rows["bdhs"], 0, 0, {})
    assert job.pairs
    assert job.training
    return job.pairs.hash, job.training.hash, job.hashes["test"]


def test_rows_of_a_file_that_was_changed_are_measured_anew(write_plan: WritePlan, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    path = write_plan(
        data={"pairs": {"method": "bdhs", "source": [str(rows)]}}, rows={"base": {}, "bdhs": PLAN["rows"]["bdhs"]}
    )
    found = []
    for text in (b"{}\n", b"{}\n{}\n", b"{}\n" + bytes(70_000_000), b"[]\n" + bytes(70_000_000)):
        rows.write_bytes(text)
        content_identity.cache_clear()  # as in the next session
        found.append(schedule_of(path).grid_jobs("bdhs")[0].hashes["dev"])
    assert len(set(found)) == 4


def test_a_folder_of_rows_and_any_file_that_a_setting_names_count_by_their_content(
    write_plan: WritePlan, tmp_path: Path
) -> None:
    (tmp_path / "rows").mkdir()
    rows, relation, image = (tmp_path / name for name in ("rows/train.jsonl", "relation.json", "rows/a.png"))
    amber = {"benchmarks": ["amber"], "benchmark": {"amber": {"relation": str(relation)}}}
    path = write_plan(
        data={"pairs": {"method": "bdhs", "source": [str(rows.parent)]}},
        evaluate={**PLAN["evaluate"], "test": amber},
        rows=ROWS,
    )
    found = []
    for file, text in ((rows, "{}\n"), (relation, "{}"), (image, "a"), (rows, "[]\n"), (relation, "[]"), (image, "b")):
        file.write_text(text)
        found.append(_hashes(path))
    pairs, _, tests = zip(*found[2:], strict=True)
    assert [one == two for one, two in pairwise(pairs)] == [False, True, True], "pictures by size"
    assert [one == two for one, two in pairwise(tests)] == [False, False, True]


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({"data": {"pairs": {"method": "bdhs", "builder": {"similarity_model": "FOLDER"}}}}, 0),
        ({"data": {"pairs": {"method": "iris", "builder": {"adapter": "FOLDER"}}}}, 0),
        ({"data": {"pairs": {"method": "candidates", "annotator": "FOLDER"}}}, 0),
        ({"train": {"dpo": {"method": "dpo", "adapter": "FOLDER"}}}, 1),
        ({"train": {"dpo": {"method": "online-dpo", "annotator": "FOLDER"}}}, 1),
        ({"train": {"dpo": {"method": "rloo", "loss": {"reward": "FOLDER"}}}}, 1),
        ({"evaluate": {**PLAN["evaluate"], "test": {"benchmarks": ["mmhal"], "judge": "FOLDER"}}}, 2),
    ],
)
def test_a_folder_of_a_model_counts_by_its_content_whatever_setting_names_it(
    write_plan: WritePlan, tmp_path: Path, changes: dict[str, Any], same: int
) -> None:
    """Of pairs, training and evaluation, the first ``same`` do not go by it."""
    folder = tmp_path / "named"
    folder.mkdir()
    path = write_plan(rows=ROWS, **changes)
    path.write_text(path.read_text().replace("FOLDER", str(folder)))
    found = []
    for name, text in (
        ("config.json", "{}"),
        ("model.safetensors", "a"),
        ("model.safetensors", "b"),
        ("README.md", ""),
    ):
        (folder / name).write_text(text)
        found.append(_hashes(path))
    for before, after in pairwise(found[:3]):
        assert [one == other for one, other in zip(before, after, strict=True)] == [place < same for place in range(3)]
    assert found[2] == found[3], "a card makes no answer"
    elsewhere = tmp_path / "elsewhere" / "named"
    elsewhere.parent.mkdir()
    folder.rename(elsewhere)
    path.write_text(path.read_text().replace(str(folder), str(elsewhere)))
    assert _hashes(path) == found[3], "where it lies decides nothing"


@pytest.mark.parametrize(
    ("changes", "table"),
    [
        ({"data": {"pairs": {"method": "bdhs", "exclude_images_of": ["TABLE:test"]}}}, "rows.jsonl"),
        ({"data": {"pairs": {"method": "bdhs", "exclude_images_of": ["FOLDER:test"]}}}, "test.jsonl"),
        ({"data": {"pairs": {"method": "bdhs", "exclude_images_of": ["FOLDER"]}}}, "test.jsonl"),
        ({"train": {"dpo": {"method": "reward-model", "loss": {"held_out": ["TABLE:test"]}}}}, "rows.jsonl"),
    ],
)
def test_a_table_counts_by_its_content_where_its_split_is_named_too(
    write_plan: WritePlan, tmp_path: Path, changes: dict[str, Any], table: str
) -> None:
    (tmp_path / "rows").mkdir()
    file = tmp_path / "rows" / table
    path = write_plan(rows=ROWS, **changes)
    path.write_text(path.read_text().replace("TABLE", str(file)).replace("FOLDER", str(file.parent)))
    found = []
    for text in ("{}", "[]"):
        file.write_text(text)
        found.append(_hashes(path))
    assert found[0][1] != found[1][1]


def test_a_file_that_bases_are_trained_from_counts_by_its_content(write_plan: WritePlan, tmp_path: Path) -> None:
    captions = tmp_path / "captions.txt"
    bases = {"seeds": [1], "trained_by": "a:b", "options": {"captions": str(captions)}}
    path = write_plan(rows={name: {**row, "bases": [1]} for name, row in ROWS.items()}, bases=bases)
    found = []
    for text in ("a", "b"):
        captions.write_text(text)
        found.append(_hashes(path))
    assert not set(found[0]) & set(found[1])
