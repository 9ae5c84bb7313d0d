"""Every row is used or counted under a reason; what is used reaches TRL's collator as it was."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mmpref.align.preference_data import IMAGES_SHA256, collect_pairs, images_sha256
from mmpref.align.summary import log_pairs
from mmpref.errors import InputError, RunError
from mmpref.tables.open import open_table
from mmpref.tables.rows import REJECTED_POLICY
from mmpref.tables.table import Table
from mmpref.workers import WorkerPool
from tests.deadly import DEADLY_HEIGHT, look


def png(color: str = "red") -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (6, 4), color).save(content, "PNG")
    return content.getvalue()


def table(*rows: dict[str, Any], spec: str = "rows", fingerprint: str = "1") -> Table:
    return Table(spec, "train", None, fingerprint, None, lambda: iter(rows))


def row(**changes: Any) -> dict[str, Any]:
    base = {
        "images": [{"bytes": png(), "path": None}],
        "prompt": [{"role": "user", "content": "What is it?"}],
        "chosen": [{"role": "assistant", "content": "A cup."}],
        "rejected": [{"role": "assistant", "content": "A fork."}],
    }
    return {**base, **changes}


def structured(*parts: Any) -> list[dict[str, Any]]:
    # None values are what an Arrow round trip adds to parts of differing keys.
    content = [{"type": "image", "text": None} if part is None else {"type": "text", "text": part} for part in parts]
    return [{"role": "user", "content": content}]


def used(tmp_path: Path, *rows: dict[str, Any]) -> tuple[int, dict[str, int]]:
    pairs = collect_pairs([table(row(), *rows)], tmp_path, image_token="<image>")
    return len(pairs.dataset) - 1, pairs.skipped


@pytest.mark.parametrize(
    "good",
    [
        row(),
        row(images=[{"bytes": png(), "path": None}, {"bytes": png("blue"), "path": None}]),
        row(prompt="What is it?", chosen="A cup.", rejected="A fork."),
        row(prompt=structured(None, "What is it?")),
        row(prompt=structured("What is it?", None)),
        row(prompt=structured("no part for the image")),
        row(prompt=[{"role": "user", "content": "<image> What?"}]),
        row(prompt="<image>\nWhat?"),
        row(prompt=[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is it?"}]),
        {**{key: value for key, value in row().items() if key != "images"}, "image": {"bytes": png(), "path": None}},
    ],
)
def test_trl_shapes_are_used(tmp_path: Path, good: dict[str, Any]) -> None:
    assert used(tmp_path, good) == (1, {})


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (row(images=[]), "no-image"),
        (row(images=None), "no-image"),
        (row(rejected=row()["chosen"]), "equal-answers"),
        (row(rejected=""), "empty-answer"),
        (row(chosen=[{"role": "assistant", "content": "  "}]), "empty-answer"),
        (row(images=[{"bytes": b"", "path": None}]), "bad-image"),
        (row(images=[{"bytes": png()[:40], "path": None}]), "bad-image"),
        (row(images=[{"bytes": None, "path": "../secret.png"}]), "bad-image"),
        (row(rejected=" A  cup.\n"), "equal-answers"),
        (row(prompt=structured("What is", None, "this?")), "image-placement"),
        (row(prompt=structured(None, None, "two for one")), "image-placement"),
        (row(chosen=[{"role": "assistant", "content": [{"type": "image"}]}]), "image-placement"),
        (row(prompt=[{"role": "user", "content": "What is <image> here?"}]), "image-placement"),
        (row(prompt=None), "empty-prompt"),
        (row(prompt=[]), "empty-prompt"),
        (row(prompt=3.5j), "malformed"),
        (row(prompt=[{"role": "assistant", "content": "I begin."}]), "empty-prompt"),
        (row(prompt=[{"role": "robot", "content": "What?"}]), "not-read"),
        (row(chosen=[{"role": "assistant", "content": None}]), "empty-answer"),
        (row(rejected=None), "no-rejected"),
        (row(rejected=[{"role": "user", "content": "Why?"}, *row()["rejected"]]), "prompts-differ"),
    ],
)
def test_unusable_rows_are_counted(tmp_path: Path, bad: dict[str, Any], reason: str) -> None:
    assert used(tmp_path, bad) == (0, {reason: 1})


def test_answers_that_the_model_cannot_tell_apart_are_counted(tmp_path: Path) -> None:
    rows = [row(), row(rejected="A spoon."), {**row(), "rejected_policy": "A spoon."}]
    settings: dict[str, Any] = {"image_token": "<image>", "alike": lambda first, second: "spoon" in second}
    folders = [tmp_path / name for name in ("pairs", "seconds", "whole")]
    for folder in folders:
        folder.mkdir()
    pairs = collect_pairs([table(*rows)], folders[0], **settings)
    assert (len(pairs.dataset), pairs.skipped) == (2, {"equal-tokens": 1})
    [shown] = pairs.skips["equal-tokens"]
    assert shown == {
        "row": "rows (train), row 1 (counted from 0)",
        "detail": "the model's tokenizer makes the same of both answers",
    }
    needs = ("chosen", "rejected", REJECTED_POLICY)
    seconds = collect_pairs(
        [table(rows[2], {**rows[2], "rejected_policy": "A fork."})], folders[1], needs=needs, **settings
    )
    assert seconds.skipped == {"equal-tokens": 1}
    whole = collect_pairs([table(rows[1])], folders[2], needs=("chosen",), **settings)
    assert len(whole.dataset) == 1, "without a rejected answer there is nothing to tell apart"


def test_rows_come_back_decoded(tmp_path: Path) -> None:
    pairs = collect_pairs([table(row(prompt=structured(None, "What?")))], tmp_path, image_token="<image>")
    first = pairs.dataset[0]
    assert first["images"][0].size == (6, 4)
    assert first["images"][0].getpixel((0, 0)) == (255, 0, 0)
    assert first["prompt"] == [{"role": "user", "content": "What?"}], "TRL puts the images before plain text"
    assert first["chosen"] == row()["chosen"]


def test_tables_are_concatenated_and_limited(tmp_path: Path) -> None:
    tables = [table(row(), row(), spec="a"), table(row(images=[]), row(), row(), spec="b")]
    pairs = collect_pairs(tables, tmp_path, image_token="<image>", limit=4)
    assert [(source["id"], source["rows"]) for source in pairs.sources] == [("a", 2), ("b", 1)]
    assert pairs.skipped == {"no-image": 1}


def test_paths_in_a_local_file_are_relative_to_it(tmp_path: Path) -> None:
    from mmpref.tables.open import open_table

    (tmp_path / "cup.png").write_bytes(png())
    file = tmp_path / "pairs.jsonl"
    rows = [row(images=["cup.png"]), row(images=["missing.png"]), row(images=["../../etc/passwd"])]
    file.write_text("".join(json.dumps(one) + "\n" for one in rows))
    (tmp_path / "run").mkdir()
    pairs = collect_pairs([open_table(str(file))], tmp_path / "run", image_token="<image>")
    assert (len(pairs.dataset), pairs.skipped) == (1, {"bad-image": 1, "missing-image": 1})


@pytest.mark.parametrize(
    ("changes", "languages"),
    [
        ({}, ["en"]),
        ({"chosen": "桌子上有一只猫。"}, []),
        ({"chosen": None, "rejected": None}, ["en"]),
        ({"chosen": None, "rejected": None, "prompt": "¿Qué es esto?"}, []),
    ],
)
def test_the_language_is_that_of_the_answers_or_of_the_prompts(
    tmp_path: Path, changes: dict[str, Any], languages: list[str]
) -> None:
    needs = () if "rejected" in changes else ("chosen", "rejected")
    pairs = collect_pairs([table(row(**changes))], tmp_path, image_token="<image>", needs=needs)
    assert pairs.languages() == languages


def test_a_second_call_reads_what_the_first_wrote(tmp_path: Path) -> None:
    first = collect_pairs([table(row(), row(images=[]))], tmp_path, image_token="<image>")
    written = (tmp_path / "rows.arrow").stat().st_mtime_ns
    second = collect_pairs([table(row(), row(images=[]))], tmp_path, image_token="<image>")
    assert (tmp_path / "rows.arrow").stat().st_mtime_ns == written
    assert second.skipped == first.skipped
    assert second.sources == first.sources


def test_data_that_changed_under_the_run_is_refused(tmp_path: Path) -> None:
    collect_pairs([table(row())], tmp_path, image_token="<image>")
    with pytest.raises(RunError, match="has changed"):
        collect_pairs([table(row(), fingerprint="2")], tmp_path, image_token="<image>")


def test_missing_columns_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"row 0 \(counted from 0\) lacks chosen; its columns are prompt, rejected"):
        collect_pairs([table({"prompt": "a", "rejected": "b"})], tmp_path, image_token="<image>")


def test_an_empty_table_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no rows"):
        collect_pairs([table()], tmp_path, image_token="<image>")


def test_no_usable_row_is_an_error_with_its_reasons(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"bad-image: 1, no-image: 1.*First: rows \(train\), row 0"):
        collect_pairs([table(row(images=[]), row(images=[b"x"]))], tmp_path, image_token="<image>")
    assert not (tmp_path / "rows.json").exists()


def test_a_bomb_is_skipped(tmp_path: Path) -> None:
    # A 12000 x 12000 one-colour PNG: a few hundred kilobytes that would decode to 432 MB.
    content = io.BytesIO()
    Image.new("1", (12000, 12000)).save(content, "PNG")
    assert len(base64.b64encode(content.getvalue())) < 200_000
    assert used(tmp_path, row(images=[content.getvalue()])) == (0, {"bad-image": 1})


def test_what_made_the_pairs_is_counted(tmp_path: Path) -> None:
    """Of rows that are used, and of names only: a column of somebody else's may hold anything."""
    methods = ("bdhs", "gibberish", "bdhs", "Free text, of a survey.", None, 3)
    rows = [row(method=method) for method in methods] + [row(method="bdhs", chosen=[], id="bad")]
    pairs = collect_pairs([table(*rows), table(row())], tmp_path, image_token="<image>")
    first, second = pairs.sources
    assert first["methods"] == {"bdhs": 2, "gibberish": 1}
    assert "methods" not in second


def test_images_that_other_processes_decode_give_the_same_rows(tmp_path: Path) -> None:
    rows = [row(), row(images=[b"x"]), row(images=[]), row(images=[{"bytes": png("blue"), "path": None}])]
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    here = collect_pairs([table(*rows)], tmp_path / "here", image_token="<image>")
    with contextlib.closing(WorkerPool(look, 1)) as looks:
        there = collect_pairs([table(*rows)], tmp_path / "there", image_token="<image>", looks=looks)
    assert (tmp_path / "there/rows.arrow").read_bytes() == (tmp_path / "here/rows.arrow").read_bytes()
    assert (tmp_path / "there/rows.json").read_text() == (tmp_path / "here/rows.json").read_text()
    assert there.skipped == here.skipped == {"bad-image": 1, "no-image": 1}


def test_an_image_that_ends_its_process_costs_its_row(tmp_path: Path) -> None:
    content = io.BytesIO()
    Image.new("RGB", (6, DEADLY_HEIGHT)).save(content, "PNG")
    rows = [row(), row(images=[content.getvalue()]), row()]
    with contextlib.closing(WorkerPool(look, 1)) as looks:
        found = collect_pairs([table(*rows)], tmp_path, image_token="<image>", looks=looks)
    assert (len(found.dataset), found.skipped) == (2, {"bad-image": 1})
    assert found.skips["bad-image"][0]["detail"] == "decoding it ends the process that does it."


def test_pairs_that_repeat_or_contradict_others_are_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    swapped = row(chosen=row()["rejected"], rejected=row()["chosen"])
    for name, rows, repeated in (
        ("some", [row(), row(), swapped], {"duplicates": 1, "conflicts": 3}),
        ("none", [row(), row(prompt="And what is that?")], {}),
    ):
        (tmp_path / name).mkdir()
        for _ in range(2):  # what a second call reads is the same
            pairs = collect_pairs([table(*rows)], tmp_path / name, image_token="<image>")
            assert pairs.repeated == repeated
        caplog.clear()
        with caplog.at_level("WARNING", "mmpref"):
            log_pairs(pairs)
        assert ("1 of 3 pairs repeat an earlier one" in caplog.text) is bool(repeated)
        assert ("3 of 3 pairs contradict another one" in caplog.text) is bool(repeated)


def test_answers_alone_are_no_pairs_that_could_repeat_others(tmp_path: Path) -> None:
    rows = [{name: cell for name, cell in row().items() if name != "rejected"}] * 2
    assert collect_pairs([table(*rows)], tmp_path, image_token="<image>", needs=("chosen",)).repeated == {}


def test_digests_of_images_are_kept_as_rows_are_checked(preferences: Path, tmp_path: Path) -> None:
    """And taken anew of the rows of a run that was begun before they were kept."""
    kept = collect_pairs([open_table(str(preferences))], tmp_path, image_token="<image>").dataset
    contents = kept.with_format(None)["images"]
    expected = [tuple(hashlib.sha256(content).digest() for content in row) for row in contents]
    assert images_sha256(kept) == expected
    assert images_sha256(kept.remove_columns(IMAGES_SHA256)) == expected
