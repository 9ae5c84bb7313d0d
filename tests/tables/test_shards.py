"""Files of which some are missing, or that are of two versions, are not read as the whole."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mmpref.errors import InputError
from mmpref.tables._shards import missing_shards, several_versions
from mmpref.tables.open import open_table
from mmpref.tables.table import Origin
from tests.tables.made_rows import write

ROWS = [{"question": "Who?", "answer": f"It is {number}."} for number in range(3)]


def shards(folder: Path, *names: str) -> Path:
    for name in names:
        write(folder / f"data/{name}.parquet", ROWS)
    return folder


def test_what_is_missing_is_named_whatever_hashes_the_names_end_in() -> None:
    there = ["data/train-00000-of-00003.parquet", "data/train-00002-of-00003.parquet", "README.md", "b-0-of-2.json"]
    assert missing_shards(there) == ["data/train-00001-of-00003.parquet"]
    assert missing_shards([f"train-0000{number}-of-00002-{str(number) * 16}.parquet" for number in range(2)]) == []
    assert missing_shards([f"train-00000-of-00002-{'a' * 16}.parquet"]) == ["train-00001-of-00002.parquet"]
    assert missing_shards(["train-00001-of-00002.jsonl.gz"]) == ["train-00000-of-00002.jsonl.gz"]
    assert missing_shards(["a-00000-of-00001.parquet", "b/a-00000-of-00001.parquet"]) == []


def test_shards_of_other_numbers_are_of_another_version() -> None:
    first, second = "a/train-00000-of-00002.parquet", "a/train-00000-of-00003.parquet"
    assert several_versions([first, second, "a/train-00001-of-00003.parquet"]) == [first, second]
    assert several_versions([first, "a/test-00000-of-00003.parquet", "b/train-00000-of-00003.parquet"]) == []


def test_a_folder_with_a_lost_file_is_refused(tmp_path: Path) -> None:
    shards(tmp_path, "train-00000-of-00003", "train-00002-of-00003", "test-00000-of-00001")
    with pytest.raises(InputError, match=r"lacks 1 of its files, such as data/train-00001-of-00003\.parquet"):
        open_table(str(tmp_path))
    assert list(open_table(str(tmp_path), "test")) == ROWS, "a split of which all is there"
    named = tmp_path / "data/train-00002-of-00003.parquet"
    assert list(open_table(str(named))) == ROWS, "a file that is named is meant"
    shards(tmp_path, "train-00001-of-00003")
    assert list(open_table(str(tmp_path))) == ROWS * 3


def test_a_folder_with_files_of_two_versions_is_refused(tmp_path: Path) -> None:
    shards(tmp_path, *(f"train-0000{number}-of-0000{count}" for count in (2, 3) for number in range(count)))
    with pytest.raises(InputError, match=r"two versions: .*train-00000-of-00002\.parquet and .*-00000-of-00003"):
        open_table(str(tmp_path))


def test_the_files_that_a_card_names_are_looked_at_too(tmp_path: Path) -> None:
    shards(tmp_path, "train-00000-of-00002", "dev-00000-of-00001")
    files = [{"split": split, "path": f"data/{split}-*"} for split in ("train", "dev")]
    (tmp_path / "README.md").write_text(f"---\nconfigs:\n- config_name: a\n  data_files: {files}\n---\n")
    with pytest.raises(InputError, match=r"such as data/train-00001-of-00002\.parquet"):
        open_table(str(tmp_path), config="a")


def test_a_copy_of_a_published_set_is_looked_at_too(tmp_path: Path) -> None:
    from mmpref.tables._local import open_local

    shards(tmp_path, "train-00000-of-00002")
    origin = Origin(("me/set",), ("data/*.parquet",))
    with pytest.raises(InputError, match=r"such as data/train-00001-of-00002\.parquet"):
        open_local(str(tmp_path), tmp_path, "train", None, origin)


def test_saved_folders_with_a_lost_file_are_refused(tmp_path: Path) -> None:
    import datasets

    datasets.Dataset.from_list(ROWS).save_to_disk(tmp_path / "saved", num_shards=2)
    assert list(open_table(str(tmp_path / "saved"))) == ROWS
    shutil.move(tmp_path / "saved/data-00001-of-00002.arrow", tmp_path)
    with pytest.raises(InputError, match=r"data-00001-of-00002\.arrow"):
        open_table(str(tmp_path / "saved"))
