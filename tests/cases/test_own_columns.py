"""Columns of one's own data, by other names and not: each is read, or the message says how to name it."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

import mmpref
from tests.cases.own_data import CAPTIONS, NAMES, QUESTIONS, build, read, write_csv

from .commands import done, refused


def pairs_of(run: Path) -> list[dict[str, Any]]:
    [shard] = run.rglob("*.parquet")
    rows: list[dict[str, Any]] = pq.read_table(shard).to_pylist()
    return rows


@pytest.mark.parametrize(
    "text",
    [
        'image, caption\nIMG_0.jpg, "A dog, brown and small."\nIMG_1.jpg, Two cats on a sofa.\n',
        "image;caption\r\nIMG_0.jpg;A dog, brown and small.\r\nIMG_1.jpg;Two cats on a sofa.\r\n",
        '\ufeffimage,caption\nIMG_0.jpg,"A dog, brown and small."\nIMG_1.jpg,Two cats on a sofa.\n',
        "image\tcaption\nIMG_0.jpg\tA dog, brown and small.\nIMG_1.jpg\tTwo cats on a sofa.\n",
    ],
)
def test_csv_as_people_and_spreadsheets_write_it(text: str, photos: Path) -> None:
    table = photos / ("captions.tsv" if "\t" in text else "captions.csv")
    table.write_text(text, encoding="utf-8", newline="")
    assert [row.answer for row in read(table)] == list(CAPTIONS[:2])


def test_other_column_names_are_named(photos: Path, tmp_path: Path) -> None:
    table = write_csv(photos / "qa.csv", {"bild": NAMES, "frage": QUESTIONS, "antwort": CAPTIONS, "text": ["x"] * 4})
    run = tmp_path / "run"
    said = refused("build-dataset", "--method", "mismatched", "--source", table, "--output", run)
    assert "row 0 (counted from 0) has the columns bild, frage, antwort, text: no shape that mmpref reads" in said
    assert "Name its columns with --columns=prompt=COLUMN,answer=COLUMN,image=COLUMN" in said
    said = refused(
        "build-dataset", "--method", "mismatched", "--source", table, "--columns", "prompt=fragen", "--output", run
    )
    assert said.endswith("its columns are bild, frage, antwort, text. Did you mean 'frage'?")
    assert not run.exists()
    named = ("--columns", "prompt=frage,answer=antwort", "--columns", "image=bild")
    found = build("--source", table, *named, "--output", run)
    assert found["counts"] == {"rows": 4, "skipped": {}}
    assert found["recipe"]["columns"] == {"prompt": "frage", "answer": "antwort", "image": "bild"}
    assert [row["prompt"][0]["content"] for row in pairs_of(run)] == list(QUESTIONS)


def test_an_answer_without_a_question_is_told_both_ways_out(photos: Path, tmp_path: Path) -> None:
    """Columns stand in messages as the file has them, and what is written there can be typed."""
    table = write_csv(photos / "captions.csv", {"Datei": NAMES, "Kurze Beschreibung": CAPTIONS})
    build = ["build-dataset", "--method", "mismatched", "--source", table]
    named = "image=Datei,answer=Kurze Beschreibung"
    said = refused(*build, "--columns", named, "--output", tmp_path / "run")
    assert "lacks prompt; its columns are Datei (called image), Kurze Beschreibung (called answer)." in said
    caption, prompt = (shlex.split(way)[0] for way in re.findall(r"--[\w-]+='[^']*'", said))
    for number, options in enumerate((["--columns=image=Datei", caption], ["--columns", named, prompt])):
        built = done(*build, *options, "--output", tmp_path / str(number))
        assert built["counts"]["skipped"] == {}
        assert [row["chosen"][0]["content"] for row in pairs_of(tmp_path / str(number))] == list(CAPTIONS)


def test_all_parts_are_listed_by_help_and_in_the_docs() -> None:
    from click.testing import CliRunner

    from mmpref.cli.main import program
    from mmpref.tables.parts import PARTS

    documented = (Path(__file__).parents[2] / "docs/data.md").read_text(encoding="utf-8")
    assert [part for part in PARTS if f"`{part}`" not in documented.partition("Parts are")[2]] == []
    for command in ("build-dataset", "train", "inspect"):
        text = " ".join(CliRunner().invoke(program, [command, "--help"]).output.split())
        assert f"What your own data call {', '.join(PARTS)}. Repeatable." in text


@pytest.mark.parametrize(("words", "part"), [("prompt", "not of the form PART=COLUMN"), ("promt=frage", "prompt")])
def test_columns_are_checked(words: str, part: str, photos: Path, tmp_path: Path) -> None:
    from click.testing import CliRunner

    from mmpref.cli.main import program

    table = write_csv(photos / "qa.csv", {"image": NAMES, "frage": QUESTIONS, "answer": CAPTIONS})
    command = ["build-dataset", "--method", "mismatched", "--source", str(table), "--columns", words]
    result = CliRunner().invoke(program, [*command, "--output", str(tmp_path / "run")])
    assert result.exit_code != 0
    assert part in result.output + str(result.exception)


def test_a_named_column_wins_over_those_that_are_known(photos: Path) -> None:
    columns = {
        "images": ["none.jpg"] * 4,
        "picture_file": NAMES,
        "prompt": ["no"] * 4,
        "question": QUESTIONS,
        "answer": ["no"] * 4,
        "caption": CAPTIONS,
    }
    rows = read(write_csv(photos / "qa.csv", columns), prompt="question", answer="caption", image="picture_file")
    assert [(row.prompt[0].content, row.answer) for row in rows] == list(zip(QUESTIONS, CAPTIONS, strict=True))


def test_columns_and_prompt_in_python_and_in_a_recipe(photos: Path, tmp_path: Path) -> None:
    frame = pd.DataFrame({"photo": [str(photos / name) for name in NAMES], "title": CAPTIONS})
    built = mmpref.build_dataset(
        method="mismatched",
        source=frame,
        columns={"answer": "title"},
        default_prompt="Name it.",
        output=tmp_path / "one",
        progress=False,
    )
    assert {row["prompt"][0]["content"] for row in pairs_of(built.path)} == {"Name it."}
    table = write_csv(photos / "titles.csv", {"photo": NAMES, "title": CAPTIONS})
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(
        "build-dataset:\n  method: mismatched\n  columns: {answer: title}\n  default_prompt: Name it.\n"
        f"  source: {table}\n"
    )
    done("build-dataset", "--recipe", recipe, "--output", tmp_path / "two")
    one, two = (
        [[row[part] for part in ("prompt", "chosen", "rejected")] for row in pairs_of(tmp_path / name)]
        for name in ("one", "two")
    )
    assert one == two


def test_recipes_without_these_settings_keep_their_hash() -> None:
    for command in ("build-dataset", "train", "evaluate"):
        plain = mmpref.recipes.schema.as_plain(mmpref.recipe("testbed", command))
        assert not {"columns", "default_prompt"} & plain.keys()
        assert command != "evaluate" or "image_root" not in plain


def test_a_text_that_is_a_question_is_no_caption(photos: Path) -> None:
    data = photos / "coco_pope_random.json"
    data.write_text(json.dumps({"image": NAMES[0], "text": "Is there a dog?", "label": "yes"}) + "\n")
    with pytest.raises(mmpref.errors.InputError, match="no shape that mmpref reads"):
        read(data)


@pytest.mark.parametrize("options", [(), ("--default-prompt", "Name it.")])
@pytest.mark.parametrize("caption", ["Caption", "description"])
def test_captions_beside_questions_that_some_rows_lack(
    caption: str, options: tuple[str, ...], photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    some, none = ["What is it?", "Where?", "", ""], ["A dog.", "Here.", "", ""]
    columns = {"Image Path": NAMES, caption: CAPTIONS, "Question": some, "Answer": none}
    table = write_csv(photos / "photos.csv", columns)
    build = ["build-dataset", "--method", "mismatched", "--source", table]
    built = done(*build, *options, "--output", tmp_path / "run")
    assert sum(built["counts"]["skipped"].values()) == 2
    [said] = [line for line in caplog.messages if "is not read" in line]
    assert "2 rows lack a question or an answer" in said
    words = shlex.split(said.partition("every row: ")[2])
    assert words[0].lower() == f"--columns=answer={caption.lower()}"
    assert options or words[0] == f"--columns=answer={caption}"
    caplog.clear()
    found = done(*build, *words, "--output", tmp_path / "advised")
    assert found["counts"]["skipped"] == {}
    assert [row["chosen"][0]["content"] for row in pairs_of(tmp_path / "advised")] == list(CAPTIONS)
    assert not [line for line in caplog.messages if "is not read" in line]
