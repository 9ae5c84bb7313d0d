"""Columns under their owner's names, and where the images of a table are looked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mmpref.errors import InputError, UsageError
from mmpref.tables._tar import KEY
from mmpref.tables.cells import columns_of, own_name
from mmpref.tables.columns import own_columns, with_columns
from mmpref.tables.headings import unfolded
from mmpref.tables.image_lookup import EMBEDDED, LOOKED_FOR, look_for_images
from mmpref.tables.in_memory import open_memory, spec_of
from mmpref.tables.parts import PARTS
from mmpref.tables.rows import read_row
from mmpref.tables.table import Table

ROW = {"id": "7", "image": "a.png", "prompt": "What?", "chosen": "A dog.", "rejected": "A cat.", "system": "Be brief."}


def table(*rows: dict[str, Any]) -> Table:
    return open_memory(spec_of(list(rows), own_paths=False), "train")


@given(
    named=st.dictionaries(
        st.sampled_from(sorted(ROW)),
        st.text(min_size=1, max_size=8).filter(lambda name: name not in (*PARTS, KEY)),
        min_size=1,
    ).filter(lambda named: len(set(named.values())) == len(named))
)
def test_a_row_reads_the_same_whatever_its_columns_are_called(named: dict[str, str]) -> None:
    renamed = {named.get(part, part): cell for part, cell in ROW.items()}
    if len(renamed) < len(ROW):
        return  # a name that the row has already
    [read] = with_columns(table(renamed), named, PARTS)
    assert read_row(read, "a row") == read_row(ROW, "a row")


def test_a_heading_is_named_as_it_is_written() -> None:
    rows = table({"Bild": "a.png", "Question": "What?", "Answer": "A dog.", "Text": "Nothing."})
    [row] = with_columns(rows, {"image": "Bild", "prompt": "Question", "answer": "Text"}, PARTS)
    assert row == {"image": "a.png", "prompt": "What?", "answer": "Nothing."}


def test_messages_show_columns_as_their_owner_wrote_them() -> None:
    rows = table({"Datei": "a.png", "Question": "", "Titel": "A dog.", "caption": "A cat."})
    named = {"image": "Datei", "id": "Datei", "answer": "Titel"}
    [row] = own_columns([rows], named, "Name it.", read=lambda row: dict(row))
    [row] = map(unfolded, row)
    assert row == {"image": "a.png", "id": "a.png", "answer": "A dog.", "prompt": "Name it."}
    assert columns_of(row) == "Datei (called image and id), Question, Titel (called answer), caption"
    assert [own_name(row, part) for part in ("image", "answer", "prompt")] == ["Datei", "Titel", "prompt"]
    assert columns_of(unfolded({"Image Path": "a.png", "Question": "What?"})) == "Image Path, Question"
    assert columns_of(unfolded({"Image": "a.png", "Mein Text": "A dog."})) == "Image, Mein Text", "not read at all"


def test_two_parts_may_be_one_column() -> None:
    [row] = with_columns(table({"file": "a.png", "q": "What?"}), {"id": "file", "image": "file"}, PARTS)
    assert row == {"q": "What?", "id": "a.png", "image": "a.png"}


def test_a_row_without_the_column_stays_as_it_is() -> None:
    rows = list(with_columns(table({"q": "What?"}, {"prompt": "Who?"}), {"prompt": "q"}, PARTS))
    assert rows == [{"prompt": "What?"}, {"prompt": "Who?"}]


def test_names_that_are_not_there_say_what_there_is() -> None:
    rows = table({"frage": "What?", "antwort": "A dog."})
    with pytest.raises(UsageError, match=r"columns names 'promt', which is no part of a row\. Did you mean 'prompt'"):
        with_columns(rows, {"promt": "frage"}, PARTS)
    with pytest.raises(InputError, match=r"no column 'fragen', which --columns prompt=fragen names; .* frage, antwort"):
        with_columns(rows, {"prompt": "fragen"}, PARTS)
    for wrong, ends in (("fragen", "Did you mean 'frage'?"), ("zzz", "its columns are frage, antwort.")):
        with pytest.raises(InputError) as refused:
            with_columns(rows, {"prompt": wrong}, PARTS)
        assert str(refused.value).endswith(ends)
        assert str(refused.value).count("antwort") == 1


@pytest.mark.parametrize(
    ("columns", "hint"),
    [
        ({"bild": "image"}, "The part comes first, then the column: --columns=image=bild"),
        ({"frage an alle": "prompt"}, "The part comes first, then the column: --columns='prompt=frage an alle'"),
        ({"bild": "picture"}, "'bild' is a column: a part comes first, --columns=PART=bild. Parts are: answer, "),
        ({"foto": "picture"}, "There are: answer, caption, "),
        ({"imgae": "bild"}, "Did you mean 'image'?"),
    ],
)
def test_what_stands_in_the_place_of_a_part_is_told_by_what_it_is(columns: dict[str, str], hint: str) -> None:
    rows = table({"bild": "a.png", "frage an alle": "What?", "antwort": "A dog."})
    with pytest.raises(UsageError) as refused:
        with_columns(rows, columns, PARTS)
    assert refused.value.message == f"columns names {next(iter(columns))!r}, which is no part of a row."
    assert refused.value.hint.startswith(hint)


def test_a_reader_of_any_names_tells_swapped_ones_too() -> None:
    with pytest.raises(InputError, match=r"no column 'image', .* The part comes first, .*: --columns=image=bild"):
        with_columns(table({"bild": "a.png"}), {"bild": "image"})
    with pytest.raises(InputError, match=r"no column 'picture', which --columns image=picture .* are image\.$"):
        with_columns(table({"image": "a.png"}), {"image": "picture"})


def test_a_prompt_is_given_where_there_is_none() -> None:
    rows = table({"caption": "A dog."}, {"question": "Who?", "answer": "A cat."})
    [named] = own_columns([rows], None, "Name it.")
    assert [read_row(row, "a row").prompt[-1].content for row in named] == ["Name it.", "Who?"]


def test_an_empty_prompt_is_none_and_one_inside_of_the_answers_is_one() -> None:
    def whole(answer: str) -> list[dict[str, str]]:
        return [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": answer}]

    answers = {"chosen": "A dog.", "rejected": "A cat."}
    rows = table(
        {"question": "", **answers},
        {"prompt": None, **answers},
        {"chosen": whole("A dog."), "rejected": whole("A cat.")},
    )
    [named] = own_columns([rows], None, "Name it.")
    read = [read_row(row, "a row") for row in named]
    assert [row.prompt[-1].content for row in read] == ["Name it.", "Name it.", "Who?"]
    assert [row.chosen for row in read] == ["A dog."] * 3


def test_images_are_looked_for_until_one_is_found(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "last.png")
    rows = [{"image": f"{number}.png", "caption": "A dog."} for number in range(2 * LOOKED_FOR)]
    with pytest.raises(
        InputError, match=rf"None of the {2 * LOOKED_FOR:,} images .* First: row 0 \(counted from 0\): '0\.png'"
    ):
        look_for_images(table(*rows), [str(tmp_path)], None)
    look_for_images(table(*rows, {"image": "last.png", "caption": "A dog."}), [str(tmp_path)], None)
    assert f"of the first {2 * LOOKED_FOR + 1:,} images" in caplog.text
    caplog.clear()
    look_for_images(table({"image": "last.png", "caption": "A dog."}, *rows[: LOOKED_FOR - 2]), [str(tmp_path)], 1)
    assert not caplog.text


def test_all_that_are_missing_are_counted_and_what_to_do_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    rows = [{"image": name, "caption": "A dog."} for name in ["a.png"] * 300 + ["b.png", "c.png"]]
    look_for_images(table(*rows), [str(tmp_path)], None, skip=1)
    assert f"of 301 images of rows in memory (train), 2 are not found under {tmp_path}" in caplog.text
    assert "First: row 300 (counted from 0): 'b.png'. Correct the paths, or name a further folder" in caplog.text


def test_a_table_that_holds_its_images_is_not_read_to_its_end() -> None:
    def rows() -> Iterator[dict[str, Any]]:
        yield from ({"image": {"bytes": b"..."}, "caption": "A dog."} for _ in range(EMBEDDED))
        raise AssertionError("no further row is wanted")

    look_for_images(Table("t", "train", None, "", None, rows), [], None)


def test_what_is_not_a_path_is_not_looked_for() -> None:
    look_for_images(table({"image": "https://example.org/a.png", "caption": "A dog."}), [], None)
    with pytest.raises(InputError, match="found anywhere: no --image-root was given"):
        look_for_images(table({"image": "a.png", "caption": "A dog."}), [], None)


def test_what_rows_lack_is_told_before_images_are_missing() -> None:
    rows = [{"image": "a.png", "question": "What?", "answer": "A dog."}] * 3
    with pytest.raises(InputError, match=r"row 0 \(counted from 0\) lacks rejected") as told:
        look_for_images(table(*rows), [], None, needs=("chosen", "rejected"))
    assert "`mmpref build-dataset --source` makes pairs" in told.value.hint
    whole = [{**row, "rejected": "A cat."} for row in rows]
    with pytest.raises(InputError, match="None of the 4 images"):
        look_for_images(table(rows[0], *whole), [], None, needs=("chosen", "rejected"))


def test_what_rows_lack_is_told_of_tables_that_hold_their_images() -> None:
    rows = [{"image": {"bytes": b"..."}, "question": "What?", "answer": "A dog."}] * (EMBEDDED + 1)
    with pytest.raises(InputError, match="lacks rejected"):
        look_for_images(table(*rows), [], None, needs=("chosen", "rejected"))
