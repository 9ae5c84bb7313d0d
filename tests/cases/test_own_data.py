"""One's own data, as people have them: a folder of photos and a table beside it. Each works at the first try, or says
at once what to do."""

from __future__ import annotations

import csv
import io
import json
import shlex
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import mmpref
from mmpref.data.sources import Source
from mmpref.tables.columns import own_columns
from mmpref.tables.messages import DEFAULT_PROMPT
from mmpref.tables.open import open_table
from mmpref.types import Example

from .commands import MODEL, SMALL, done, refused, value

CAPTIONS = ("A dog, brown and small.", "Two cats on a sofa.", "A red ball.", "A boat.")
QUESTIONS = tuple(f"What is in picture {number}?" for number in range(4))
NAMES = tuple(f"IMG_{number}.jpg" for number in range(4))


def photo(number: int) -> bytes:
    pixels = np.random.default_rng(number).integers(0, 256, (40, 48, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG")
    return file.getvalue()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, name in enumerate(NAMES):
        (folder / name).write_bytes(photo(number))
    return folder


def write_csv(file: Path, columns: dict[str, Any], **options: Any) -> Path:
    with open(file, "w", newline="", encoding="utf-8") as opened:
        writer = csv.writer(opened, **options)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return file


def read(source: Path, image_root: str = "", **columns: str) -> list[Example]:
    """The examples of a source, all of which are ones."""
    table = open_table(str(source))
    roots = [image_root] if image_root else []
    source_ = Source(own_columns([table], columns), roots)
    rows = [row for _, block in source_.blocks(8, lambda _: True) for row in block]
    assert all(isinstance(row, Example) for row in rows), rows
    return [row for row in rows if isinstance(row, Example)]


def build(*options: object) -> dict[str, Any]:
    return done("build-dataset", "--method", "mismatched", *options)


def pairs_of(run: Path) -> list[dict[str, Any]]:
    [shard] = run.rglob("*.parquet")
    rows: list[dict[str, Any]] = pq.read_table(shard).to_pylist()
    return rows


@pytest.mark.parametrize("place", ["file", "folder"])
@pytest.mark.parametrize("name", ["image", "file_name", "filename", "photo", "image_path"])
def test_a_csv_of_captions_beside_its_photos(name: str, place: str, photos: Path) -> None:
    table = write_csv(photos / "captions.csv", {name: NAMES, "caption": CAPTIONS})
    rows = read(table if place == "file" else photos)
    assert [row.answer for row in rows] == list(CAPTIONS)
    assert [row.images[0].content for row in rows] == [photo(number) for number in range(4)]
    assert {row.prompt[0].content for row in rows} == {DEFAULT_PROMPT}


def test_a_csv_elsewhere_needs_only_the_folder(photos: Path, tmp_path: Path) -> None:
    table = write_csv(tmp_path / "qa.csv", {"image": NAMES, "question": QUESTIONS, "answer": CAPTIONS})
    said = refused("build-dataset", "--method", "mismatched", "--source", table, "--output", tmp_path / "run")
    assert said == (
        f"None of the 4 images of {table} (train) is found under {tmp_path}. First: row 0: 'IMG_0.jpg'. Name the "
        "folder that paths are relative to with --image-root."
    )
    found = build("--source", table, "--image-root", photos, "--output", tmp_path / "run")
    assert found["counts"] == {"rows": 4, "skipped": {}}


def test_some_photos_that_are_missing_are_told_before_the_work(photos: Path, caplog: pytest.LogCaptureFixture) -> None:
    (photos / NAMES[2]).unlink()
    table = write_csv(photos / "captions.csv", {"image": NAMES, "caption": CAPTIONS})
    Source(open_table(str(table)))
    assert f"of the first 4 images of {table} (train), 1 are not found under {photos}" in caplog.text
    assert "First: row 2: 'IMG_2.jpg'" in caplog.text


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
    assert "row 0 has the columns bild, frage, antwort, text: no shape that mmpref reads" in said
    assert "Name its columns with --columns, such as prompt=COLUMN,answer=COLUMN,image=COLUMN" in said
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


def test_llava_json(photos: Path) -> None:
    rows = [
        {
            "id": f"row-{number}",
            "image": f"coco/train2017/{name}",
            "conversations": [
                {"from": "human", "value": f"<image>\n{QUESTIONS[number]}"},
                {"from": "gpt", "value": CAPTIONS[number]},
            ],
        }
        for number, name in enumerate(NAMES)
    ]
    (photos / "llava.json").write_text(json.dumps(rows))
    assert [(row.prompt[0].content, row.answer) for row in read(photos / "llava.json")] == list(
        zip(QUESTIONS, CAPTIONS, strict=True)
    )


def coco(**annotations: Any) -> dict[str, Any]:
    images = [{"id": 10 + number, "file_name": name, "height": 40} for number, name in enumerate(NAMES)]
    return {"info": {"year": 2017}, "licenses": [], "images": images, **annotations}


@pytest.mark.parametrize("indent", [None, 2])
def test_a_coco_file_of_captions(indent: int | None, photos: Path) -> None:
    annotations = [{"image_id": 10 + number, "id": number, "caption": CAPTIONS[number]} for number in (3, 1, 1)]
    annotations[-1] = {**annotations[-1], "id": 7, "caption": "Cats."}
    file = photos / "captions_val2017.json"
    file.write_text(json.dumps(coco(annotations=annotations), indent=indent))
    rows = read(file)
    assert [(row.id, row.answer) for row in rows] == [("3", "A boat."), ("1", CAPTIONS[1]), ("7", "Cats.")]
    assert [row.images[0].content for row in rows] == [photo(3), photo(1), photo(1)]


def test_a_coco_file_of_objects_is_a_benchmark(photos: Path, tmp_path: Path) -> None:
    boxes = [{"image_id": 10, "category_id": 1}, {"image_id": 10, "category_id": 1}, {"image_id": 12, "category_id": 2}]
    kinds = [{"id": 1, "name": "dog"}, {"id": 2, "name": "traffic light"}]
    file = photos / "instances.json"
    file.write_text(json.dumps(coco(annotations=boxes, categories=kinds)))
    rows = list(open_table(str(file)))
    assert [row["objects"] for row in rows] == [["dog"], [], ["traffic light"], []]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (coco(annotations=[{"image_id": 99, "caption": "?"}]), "annotation 0 is of the image '99'"),
        (coco(annotations=[{"image_id": 10, "keypoints": []}]), "without captions and without objects"),
        ({"version": 1, "data": [1], "rows": []}, "Its lists are data, rows: save one of them as the file."),
    ],
)
def test_other_json_objects_say_what_to_do(content: dict[str, Any], said: str, photos: Path) -> None:
    file = photos / "whole.json"
    file.write_text(json.dumps(content, indent=1))
    with pytest.raises(mmpref.errors.InputError, match=said):
        list(open_table(str(file)))


@pytest.mark.parametrize("caption", ["caption", "text"])
def test_an_image_folder_with_metadata(caption: str, photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "set/train"
    folder.parent.mkdir()
    photos.rename(folder)
    write_csv(folder / "metadata.csv", {"file_name": NAMES, caption: CAPTIONS})
    assert [row.answer for row in read(folder.parent)] == list(CAPTIONS)
    assert [row.answer for row in read(folder)] == list(CAPTIONS)


def test_parquet_with_image_structs(photos: Path) -> None:
    rows = [
        {"image": {"bytes": photo(number), "path": None}, "question": QUESTIONS[number], "answer": CAPTIONS[number]}
        for number in range(4)
    ]
    pq.write_table(pa.Table.from_pylist(rows), photos / "rows.parquet")
    assert [row.images[0].content for row in read(photos / "rows.parquet")] == [photo(number) for number in range(4)]


def test_several_captions_of_an_image(photos: Path) -> None:
    lines = [{"image": name, "captions": [CAPTIONS[number], "Something."]} for number, name in enumerate(NAMES)]
    (photos / "flickr.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    rows = read(photos / "flickr.jsonl")
    assert [row.answer for row in rows] == list(CAPTIONS)
    assert {row.notes for row in rows} == {("first_of_captions", "prompt_given")}


def test_addresses_say_that_nothing_is_fetched(tmp_path: Path) -> None:
    lines = [{"image": f"https://example.org/{name}", "caption": "A dog."} for name in NAMES]
    (tmp_path / "urls.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    said = refused(
        "build-dataset", "--method", "mismatched", "--source", tmp_path / "urls.jsonl", "--output", tmp_path / "run"
    )
    assert "'https://example.org/IMG_0.jpg' is on another machine" in said
    assert "Download them, and name their folder with --image-root" in said


def test_training_on_ones_own_pairs(photos: Path, tmp_path: Path) -> None:
    pairs = {"photo": NAMES, "q": QUESTIONS, "good": CAPTIONS, "bad": CAPTIONS[::-1]}
    table = write_csv(tmp_path / "pairs.csv", pairs)
    named = ("--columns", "prompt=q,chosen=good,rejected=bad")
    train = ("train", "--model", MODEL, "--dataset", table, *named, *SMALL, "--output", tmp_path / "run")
    assert "None of the 4 images" in refused(*train)
    assert done(*train, "--image-root", photos)["counts"] == {"rows": 4, "skipped": {}}


def ask(benchmark: str, data: Path, output: Path, *options: object) -> tuple[object, ...]:
    settings = ("--set", f"benchmark.{benchmark}.data={data}", "--set", f"benchmark.{benchmark}.max_new_tokens=4")
    return (
        "evaluate",
        "--recipe",
        "plain",
        "--model",
        MODEL,
        "--benchmark",
        benchmark,
        *settings,
        "--output",
        output,
        *options,
    )


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_yes_no_benchmark_of_ones_own(form: str, photos: Path, tmp_path: Path) -> None:
    rows = {"image": NAMES, "question": QUESTIONS, "answer": ("yes", "No", "yes.", "no")}
    data = tmp_path / f"mine.{form}"
    if form == "csv":
        write_csv(data, rows)
    else:
        lines = [dict(zip(rows, cells, strict=True)) for cells in zip(*rows.values(), strict=True)]
        data.write_text("".join(json.dumps(line) + "\n" for line in lines))
    run = tmp_path / "run"
    said = refused(*ask("pope", data, run))
    assert said.startswith(
        f"No image of benchmark pope ({data}, split test) can be read: {data} (test), row 0 (no image"
    )
    assert "Name the folder of the images: --set benchmark.pope.images=FOLDER; of an evaluation's" in said
    assert "all together, --image-root." in said
    found = done(*ask("pope", data, run, "--image-root", photos))
    assert value(found, "accuracy")["n"] == 4
    assert found["missing"] == {"pope": {"base": 0}}


def test_missing_pictures_of_a_benchmark_are_told_first(
    photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from mmpref.bench.plan import load_plan

    (photos / NAMES[1]).unlink()
    data = write_csv(photos / "mine.csv", {"image": NAMES, "question": QUESTIONS, "answer": ("yes", "no") * 2})
    load_plan("pope", "pope", {"data": str(data)}, None)
    assert "the images of 1 of 4 questions of pope cannot be read" in caplog.text
    assert "row 1 (no image file 'IMG_1.jpg'" in caplog.text


def test_columns_of_a_benchmark(photos: Path, tmp_path: Path) -> None:
    data = write_csv(photos / "mine.csv", {"bild": NAMES, "frage": QUESTIONS, "antwort": ("yes", "no") * 2})
    run = tmp_path / "run"
    assert "its columns are bild, frage, antwort" in refused(*ask("pope", data, run))
    found = done(*ask("pope", data, run, "--columns", "prompt=frage,answer=antwort,image=bild"))
    assert value(found, "accuracy")["n"] == 4
    said = refused(
        "evaluate", "--benchmark", "pope", "--columns", "answer=label", "--recipe", "plain", "--model", MODEL
    )
    assert "none is on such data" in said


@pytest.mark.parametrize("objects", [["dog", "traffic light"], "dog, traffic light", '["dog", "traffic light"]'])
def test_image_and_objects_suffice_for_chair(objects: Any, photos: Path, tmp_path: Path) -> None:
    from mmpref.bench.plan import load_plan

    data = photos / "objects.jsonl"
    lines = [{"image": NAMES[0], "objects": objects}, {"image": NAMES[1], "objects": ["cats"]}]
    data.write_text("".join(json.dumps(line) + "\n" for line in lines))
    plan = load_plan("chair", "chair", {"data": str(data)}, None)
    assert [sample.image_id for sample in plan.samples] == ["IMG_0", "IMG_1"]
    score = plan.task.score(plan.samples[0], "Two dogs and a cat wait at the traffic lights.")
    assert score.parsed == "dog, cats, traffic light"
    counts = {name: score.counts[name] for name in ("mentions", "hallucinated", "found", "objects")}
    assert counts == {"mentions": 3, "hallucinated": 1, "found": 2, "objects": 2}


def test_names_that_chair_cannot_find_are_refused(photos: Path) -> None:
    from mmpref.bench.plan import load_plan

    data = photos / "objects.jsonl"
    data.write_text(json.dumps({"image": NAMES[0], "objects": ["stove top oven"]}) + "\n")
    with pytest.raises(mmpref.errors.InputError, match="'stove top oven', and CHAIR finds names of one word or two"):
        load_plan("chair", "chair", {"data": str(data)}, None)
    data.write_text(json.dumps({"image": NAMES[0], "objects": [" dog ", "traffic  light"]}) + "\n")
    plan = load_plan("chair", "chair", {"data": str(data)}, None)
    assert plan.task.score(plan.samples[0], "A dog at a traffic light.").counts["found"] == 2


@pytest.mark.parametrize(("rows", "caption"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_chair_finds_composed_names_in_decomposed_captions(rows: Any, caption: Any, photos: Path) -> None:
    from mmpref.bench.plan import load_plan

    data = photos / "objects.jsonl"
    names = [unicodedata.normalize(rows, name) for name in ("cốc", "ghế")]
    data.write_text(json.dumps({"image": NAMES[0], "objects": names}) + "\n")
    plan = load_plan("chair", "chair", {"data": str(data)}, None)
    score = plan.task.score(plan.samples[0], unicodedata.normalize(caption, "Có một Cốc và một ghế."))
    assert (score.counts["found"], score.counts["objects"]) == (2, 2)


def test_cocos_own_rows_need_the_authors_table(photos: Path) -> None:
    from mmpref.bench.plan import load_plan

    data = photos / "coco.jsonl"
    data.write_text(json.dumps({"image": NAMES[0], "gt_object": ["dog"]}) + "\n")
    with pytest.raises(mmpref.errors.UsageError, match="needs a table of synonyms"):
        load_plan("chair", "chair", {"data": str(data)}, None)


def test_a_text_that_is_a_question_is_no_caption(photos: Path) -> None:
    data = photos / "coco_pope_random.json"
    data.write_text(json.dumps({"image": NAMES[0], "text": "Is there a dog?", "label": "yes"}) + "\n")
    with pytest.raises(mmpref.errors.InputError, match="no shape that mmpref reads"):
        read(data)


def test_questions_about_one_embedded_picture_are_resampled_together(tmp_path: Path) -> None:
    from mmpref.bench.plan import load_plan

    cell = {"bytes": photo(0), "path": None}
    rows = [{"image": cell, "question": question, "answer": "yes"} for question in QUESTIONS]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "test.parquet")
    plan = load_plan("pope", "pope", {"data": str(tmp_path / "test.parquet")}, None)
    assert len({sample.image_id for sample in plan.samples}) == 1


def test_pictures_of_one_name_in_two_folders_are_two(photos: Path) -> None:
    from mmpref.bench.plan import load_plan

    for number, folder in enumerate(("dogs", "cats")):
        (photos / folder).mkdir()
        (photos / folder / "1.jpg").write_bytes(photo(number))
    data = write_csv(
        photos / "mine.csv",
        {"image": ["dogs/1.jpg", "cats/1.jpg", "dogs/1.jpg"], "question": QUESTIONS[:3], "answer": ["yes"] * 3},
    )
    one, two, three = (sample.image_id for sample in load_plan("pope", "pope", {"data": str(data)}, None).samples)
    assert one == three != two


@pytest.mark.parametrize(
    ("suffix", "asked"),
    [
        ("Answer yes or no.", "Is there a dog?\nAnswer yes or no."),
        (" Answer yes or no.", "Is there a dog? Answer yes or no."),
        ("\nAnswer yes or no.", "Is there a dog?\nAnswer yes or no."),
        ("", "Is there a dog?"),
    ],
)
@pytest.mark.parametrize("benchmark", ["pope", "gqa"])
def test_a_suffix_stands_apart_from_the_question(benchmark: str, suffix: str, asked: str, photos: Path) -> None:
    from mmpref.bench.plan import load_plan

    data = write_csv(photos / "mine.csv", {"image": NAMES[:1], "question": ["Is there a dog?"], "answer": ["yes"]})
    plan = load_plan(benchmark, benchmark, {"data": str(data), "suffix": suffix}, None)
    assert plan.samples[0].messages[0].content == asked


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


def test_cocos_captions_in_the_place_of_its_objects(photos: Path, tmp_path: Path) -> None:
    content = {
        "images": [{"id": 1, "file_name": NAMES[0]}],
        "annotations": [{"id": 7, "image_id": 1, "caption": CAPTIONS[0]}],
    }
    file = photos / "captions_val2014.json"
    file.write_text(json.dumps(content))
    words = ["--benchmark", "chair", "--set", f"benchmark.chair.data={file}", "--output", tmp_path / "run"]
    said = refused("evaluate", "--model", MODEL, *words)
    assert "holds a caption, and this benchmark needs the names of the objects" in said
    assert "instances_....json" in said
    assert "COLUMN" not in said
