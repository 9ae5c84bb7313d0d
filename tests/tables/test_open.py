"""Rows come in from every kind of place, and what is not there is named."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mmpref.errors import InputError, RunError, UsageError
from mmpref.tables.open import open_table, refuse_split
from mmpref.tables.table import Table
from mmpref.testbed.render import SIDE
from tests.tables.made_rows import png, write

ROWS = [{"id": str(i), "question": f"What is {i}?", "answer": "一个点。"} for i in range(5)]


def with_images() -> Any:
    import datasets

    features = datasets.Features(
        {"images": datasets.List(datasets.Image()), "question": datasets.Value("string"), "image": datasets.Image()}
    )
    cell = {"bytes": b"not an image", "path": "broken.png"}
    rows = {"images": [[{"bytes": png(), "path": None}], [cell, cell]], "question": ["a", "b"], "image": [cell, None]}
    return datasets.Dataset.from_dict(rows, features=features)


def test_a_registered_table() -> None:
    table = open_table("testbed", "dev")
    first = next(iter(table))
    assert Image.open(io.BytesIO(first["images"][0]["bytes"])).size == (SIDE, SIDE)
    assert next(iter(table)) == first
    assert table.facts()["licence"] == "apache-2.0"
    assert (table.name, table.root, table.revision) == ("testbed", None, None)
    assert "dev" in table.fingerprint
    with pytest.raises(InputError, match=r"no split 'tran'. Did you mean 'train'"):
        open_table("testbed", "tran")


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl", "rows.ndjson", "rows.parquet"])
def test_a_file(tmp_path: Path, name: str) -> None:
    table = open_table(str(write(tmp_path / name, ROWS)))
    assert list(table) == ROWS
    assert list(table) == ROWS, "a second reading starts anew"
    assert (table.root, table.name) == (tmp_path, name)


def test_the_fingerprint_is_of_the_content(tmp_path: Path) -> None:
    def fingerprint(folder: str, rows: list[dict[str, Any]]) -> str:
        return open_table(str(write(tmp_path / folder / "rows.jsonl", rows))).fingerprint

    assert fingerprint("a", ROWS) == fingerprint("b", ROWS)
    assert fingerprint("a", ROWS) != fingerprint("b", ROWS[1:])


@pytest.mark.parametrize(
    ("files", "split"),
    [
        (["data/dev-00000-of-00002.parquet", "data/dev-00001-of-00002.parquet"], "dev"),
        (["train-0.jsonl", "train-1.jsonl"], "train"),
        (["validation/a.json", "validation/b.json"], "validation"),
        (["val.parquet"], "validation"),
        (["RLHF-V-Dataset.parquet"], "train"),
        (["one.jsonl", "two.jsonl"], "train"),
    ],
)
def test_a_folder(tmp_path: Path, files: list[str], split: str) -> None:
    for index, name in enumerate(files):
        write(tmp_path / name, ROWS[index : index + 1])
    write(tmp_path / "test-00000-of-00001.parquet" if files[0].endswith("parquet") else tmp_path / "test.jsonl", ROWS)
    (tmp_path / "report.json").write_text("{}")
    table = open_table(str(tmp_path), split)
    assert list(table) == ROWS[: len(files)]
    with pytest.raises(InputError, match=rf"has no split 'other'.*({split}|test)"):
        open_table(str(tmp_path), "other")


@pytest.mark.parametrize(
    ("name", "accepted", "refused"),
    [
        ("qa.jsonl", ["train"], ["validation", "test"]),
        ("qa-val.jsonl", ["train", "validation", "val"], ["test", "dev"]),
        ("test/qa.json", ["train", "test"], ["validation"]),
        ("dev-00000-of-00001.parquet", ["train", "dev"], ["test"]),
    ],
)
def test_the_splits_of_a_single_file(tmp_path: Path, name: str, accepted: list[str], refused: list[str]) -> None:
    spec = str(write(tmp_path / "photos" / name, ROWS))
    for split in accepted:
        refuse_split(spec, split)
    for split in refused:
        with pytest.raises(InputError, match=rf"{name} has no split '{split}'.*(There are:|Did you mean)"):
            refuse_split(spec, split)


def test_splits_of_tables_and_folders_are_left_to_their_opening(tmp_path: Path) -> None:
    for spec in ("testbed", str(tmp_path), "me/pairs"):
        refuse_split(spec, "dev")


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_the_run_of_a_command_that_makes_no_data_is_named(tmp_path: Path, command: str) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"command": command, "recipe": {}}))
    (tmp_path / "adapter_config.json").write_text('{\n "r": 16\n}\n')
    with pytest.raises(InputError, match=rf"is a run of `{command}`, not a dataset.*`build-dataset`"):
        open_table(str(tmp_path))


def test_save_to_disk_with_and_without_splits(tmp_path: Path) -> None:
    import datasets

    with_images().save_to_disk(tmp_path / "one")
    datasets.DatasetDict({"train": with_images(), "dev": with_images()}).save_to_disk(tmp_path / "two")
    one, two = open_table(str(tmp_path / "one")), open_table(str(tmp_path / "two"), "dev")
    assert list(one) == list(two)
    first, second = one
    assert first["images"] == [{"bytes": png(), "path": None}]
    assert second["images"][1]["bytes"] == b"not an image", "a broken image stays its row's fault"
    assert second["image"] is None
    with pytest.raises(InputError, match=r"no split 'test'. There are: dev, train"):
        open_table(str(tmp_path / "two"), "test")


def test_of_a_folder_whose_files_say_no_split_one_can_be_named(tmp_path: Path) -> None:
    for name in ("captions_val2014.json", "instances_val2014.json"):
        (tmp_path / name).write_text('[{"image": "a.png", "caption": "A cat."}]')
    with pytest.raises(InputError, match=r"has no split 'test'") as caught:
        open_table(f"{tmp_path}/", "test")
    files = [f"{tmp_path}/captions_val2014.json", f"{tmp_path}/instances_val2014.json"]
    assert caught.value.hint == f"There are: train. Or name one of its files: {', '.join(files)}."
    assert len(list(open_table(files[1], "test"))) == 1
    (tmp_path / "more").mkdir()
    for split in ("train", "dev"):
        (tmp_path / f"more/{split}.json").write_text('[{"image": "a.png", "caption": "A cat."}]')
    with pytest.raises(InputError) as caught:
        open_table(str(tmp_path / "more"), "test")
    assert caught.value.hint == "There are: train, validation."


def test_an_image_folder_and_its_configurations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    # The library's cache folder: read at import, so set where it is looked up.
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "photos"
    (folder / "train").mkdir(parents=True)
    (folder / "train/a.png").write_bytes(png())
    (folder / "train/metadata.jsonl").write_text('{"file_name": "a.png", "question": "What?", "answer": "Red."}\n')
    [row] = open_table(str(folder))
    assert row["image"]["bytes"] == png()
    assert row["question"] == "What?"

    several = tmp_path / "several"
    for name in ("a", "b"):
        write(several / name / "train.jsonl", [{"question": name}])
    configs = "".join(f"- config_name: {name}\n  data_files: {name}/train.jsonl\n" for name in "ab")
    (several / "README.md").write_text(f"---\nlicense: mit\nconfigs:\n{configs}---\n")
    assert list(open_table(str(several), config="b")) == [{"question": "b"}]
    with pytest.raises(InputError, match=r"Config name is missing.*'a', 'b'"):
        open_table(str(several))
    with pytest.raises(InputError, match=r"'c' not found. Available: \['a', 'b'\]"):
        open_table(str(several), config="c")


def test_a_dataset_cannot_make_us_read_other_files(tmp_path: Path) -> None:
    import datasets

    from mmpref.tables._datasets import undecoded

    secret = tmp_path / "secret.png"
    secret.write_bytes(png())
    features = datasets.Features({"image": datasets.Image()})
    loaded = datasets.Dataset.from_dict({"image": [{"bytes": None, "path": str(secret)}]}, features=features)
    assert next(undecoded(loaded, [tmp_path / "elsewhere"]))["image"]["bytes"] is None
    assert next(undecoded(loaded, [tmp_path]))["image"]["bytes"] == png()


def test_a_folder_of_several_formats_is_not_read_in_part(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a\n1\n")
    write(tmp_path / "b.jsonl", ROWS)
    with pytest.raises(InputError, match=r"several formats, such as a.csv, b.jsonl. Name one file"):
        open_table(str(tmp_path))


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "empty").mkdir()
    (tmp_path / "run/.mmpref").mkdir(parents=True)
    for spec, kind, message in (
        (str(tmp_path / "none.jsonl"), InputError, "no file or folder"),
        ("./none", InputError, "no file or folder"),
        ("none.parquet", InputError, "no file or folder"),
        (str(tmp_path / "notes.txt"), InputError, r"no data file.*\.jsonl"),
        (str(tmp_path / "empty"), InputError, "empty folder"),
        (str(tmp_path / "run"), RunError, "unfinished run"),
        ("pkg:mmpref.nothing/x", UsageError, "names nothing"),
    ):
        with pytest.raises(kind, match=message):
            open_table(spec)


def test_tables_of_memory_still_work() -> None:
    assert list(Table("rows", "train", None, "1", None, lambda: iter(ROWS))) == ROWS


def test_a_folder_with_configurations_is_read_anew_when_a_file_changes(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(
        "---\nconfigs:\n- config_name: a\n  data_files: a.jsonl\n- config_name: b\n  data_files: b.jsonl\n---\n"
    )
    for text in ("one", "two"):
        for name in ("a", "b"):
            (tmp_path / f"{name}.jsonl").write_text(f'{{"text": "{text} {name}"}}\n')
        assert [row["text"] for row in open_table(str(tmp_path), config="b")] == [f"{text} b"]
