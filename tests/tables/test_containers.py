"""The same pairs in every container: each is read alike by all commands, and what is broken is named."""

from __future__ import annotations

import base64
import csv
import gzip
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mmpref.align.preference_data import collect_pairs
from mmpref.data.inspect import inspect
from mmpref.data.sources import Source
from mmpref.errors import InputError
from mmpref.tables.open import open_table
from mmpref.tables.rows import read_row
from mmpref.types import Example, Skip
from tests.tables.made_rows import png

COLOURS = ("red", "blue", "green")
PAIRS = [
    {"prompt": f"Which colour, {number}?", "chosen": f"It is {color}.", "rejected": "It is a dog."}
    for number, color in enumerate(COLOURS)
]
EMBEDDED = [
    {**pair, "images": [{"bytes": png(color), "path": f"{color}.png"}]}
    for pair, color in zip(PAIRS, COLOURS, strict=True)
]
NAMED = [{**pair, "image": f"{color}.png"} for pair, color in zip(PAIRS, COLOURS, strict=True)]


def with_files(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    for color in COLOURS:
        (path.parent / f"{color}.png").write_bytes(png(color))
    return path


def lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def jsonl(encoding: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        path = with_files(folder / "rows.jsonl")
        path.write_bytes(lines(NAMED).encode(encoding))
        return path

    return write


def packed(folder: Path) -> Path:
    path = with_files(folder / "rows.jsonl.gz")
    path.write_bytes(gzip.compress(lines(NAMED).encode()))
    return path


def array(folder: Path) -> Path:
    path = with_files(folder / "ROWS.JSON")
    path.write_text(json.dumps(NAMED, indent=1))
    return path


def delimited(name: str, delimiter: str, encoding: str = "utf-8-sig") -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        path = folder / name
        rows = [
            {**pair, "image": base64.b64encode(png(color)).decode()} for pair, color in zip(PAIRS, COLOURS, strict=True)
        ]
        with open(path, "w", encoding=encoding, newline="") as file:
            table = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
            table.writeheader()
            table.writerows(rows)
        return path

    return write


def parquet(folder: Path) -> Path:
    pq.write_table(pa.Table.from_pylist(EMBEDDED), folder / "train.parquet")
    return folder / "train.parquet"


def arrow(indexed: bool) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        table = pa.Table.from_pylist(EMBEDDED)
        open_writer = pa.ipc.new_file if indexed else pa.ipc.new_stream
        with open_writer(str(folder / "rows.arrow"), table.schema) as writer:
            writer.write_table(table, max_chunksize=2)
        return folder / "rows.arrow"

    return write


def saved(folder: Path) -> Path:
    import datasets

    datasets.Dataset.from_list(EMBEDDED).save_to_disk(folder / "saved")
    return folder / "saved"


def image_folder(folder: Path) -> Path:
    rows = [{**pair, "file_name": f"{color}.png"} for pair, color in zip(PAIRS, COLOURS, strict=True)]
    with_files(folder / "photos/metadata.jsonl").write_text(lines(rows))
    return folder / "photos"


def add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))


def webdataset(path: Path, start: int = 0, stop: int = 3) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        for number in range(start, stop):
            add(archive, f"part/{number:04}.PNG", png(COLOURS[number]))
            add(archive, f"part/._{number:04}.PNG", b"of another system")
            add(archive, f"part/{number:04}.json", json.dumps(PAIRS[number]).encode())
    return path


def shards(folder: Path) -> Path:
    for number in range(3):
        webdataset(folder / f"web/train-{number:05}.tar", number, number + 1)
    (folder / "web/README.md").write_text("A card.")
    return folder / "web"


CONTAINERS: dict[str, Callable[[Path], Path]] = {
    "JSON lines": jsonl("utf-8"),
    "JSON lines with a mark": jsonl("utf-8-sig"),
    "JSON lines in UTF-16": jsonl("utf-16"),
    "JSON lines, packed": packed,
    "a JSON array, its ending in capitals": array,
    "CSV": delimited("rows.csv", ","),
    "CSV of another country": delimited("rows.csv", ";"),
    "a spreadsheet's Unicode text": delimited("rows.csv", "\t", "utf-16"),
    "TSV": delimited("rows.TSV", "\t"),
    "Parquet": parquet,
    "an Arrow stream": arrow(indexed=False),
    "an Arrow file": arrow(indexed=True),
    "save_to_disk": saved,
    "a folder of images": image_folder,
    "WebDataset": lambda folder: webdataset(folder / "rows.tar"),
    "WebDataset, packed": lambda folder: webdataset(folder / "rows.tar.gz"),
    "a folder of WebDataset's shards": shards,
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_pairs_in_every_container_are_the_same_to_every_command(tmp_path: Path, name: str) -> None:
    table = open_table(str(CONTAINERS[name](tmp_path)))
    examples = [example for _, block in Source(table, pairs=True).blocks(8, lambda _: True) for example in block]
    (tmp_path / "run").mkdir()
    trained = collect_pairs([table], tmp_path / "run", image_token="<image>").dataset
    inspected = inspect(table)
    assert (inspected["rows"], inspected["problems"]) == (3, {})
    for number, (example, row, pair) in enumerate(zip(examples, trained, PAIRS, strict=True)):
        assert isinstance(example, Example), example
        assert (example.prompt[0].content, example.answer, example.rejected) == tuple(pair.values())
        assert [row[column][0]["content"] for column in pair] == list(pair.values())
        [image], [picture] = example.images, row["images"]
        assert image.content == png(COLOURS[number])
        assert picture.getpixel((0, 0)) == Image.open(io.BytesIO(image.content)).getpixel((0, 0))


def test_members_of_a_shard_become_cells(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "rows.tar", "w") as archive:
        add(archive, "a.0.jpg", png("red"))
        add(archive, "a.1.jpg", png("blue"))
        add(archive, "a.txt", "What café?".encode("utf-16"))
        add(archive, "a.json", b'{"question": "Q"}')
        add(archive, "a.wav", b"sound")
        add(archive, "b.txt", b"No image.")
    first, second = open_table(str(tmp_path / "rows.tar"))
    assert first["txt"] == "What café?"
    assert second == {"__key__": "b", "txt": "No image."}
    read = read_row({**first, "json": {"question": "Q", "answer": "A"}}, "row 0")
    assert [cell["path"] for cell in read.images] == ["a.0.jpg", "a.1.jpg"]
    fault = read.fault("chosen")
    assert fault
    assert (fault.reason, fault.column) == ("not-read", "wav")


@pytest.mark.parametrize("name", ["jpg", "0.png", "image.png", "img_0.webp"])
def test_of_a_shard_the_member_with_a_plain_ending_is_the_rows_image(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with tarfile.open(tmp_path / "rows.tar", "w") as archive:
        for key in ("a", "b"):
            add(archive, f"{key}.{name}", png("red"))
            add(archive, f"{key}.seg.png", png("blue"))
            add(archive, f"{key}.txt", b"A cup.")
    source = Source(open_table(str(tmp_path / "rows.tar")))
    for [example] in [block for _, block in source.blocks(1, lambda _: True)]:
        assert isinstance(example, Example)
        assert [image.content for image in example.images] == [png("red")]
    assert "has the column seg.png, which looks like" in caplog.text


def test_members_that_may_be_images_are_told_where_there_is_no_other(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "rows.tar", "w") as archive:
        add(archive, "a.left.jpg", png("red"))
        add(archive, "a.right.jpg", png("blue"))
        add(archive, "a.json", b'{"question": "Q", "answer": "A"}')
    [[skip]] = [block for _, block in Source(open_table(str(tmp_path / "rows.tar"))).blocks(1, lambda _: True)]
    assert skip == Skip("a", "no-image", "left.jpg, right.jpg is not read as an image")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.tar", b"no archive at all", r"a\.tar cannot be read as TAR"),
        ("a.arrow", b"ARROW1 but not really", r"a\.arrow cannot be read as Arrow"),
        ("a.arrow", b"", r"a\.arrow cannot be read as Arrow"),
    ],
)
def test_broken_containers_are_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        list(open_table(str(tmp_path / name)))


def test_a_shard_that_breaks_off_and_a_broken_member_are_named(tmp_path: Path) -> None:
    whole = webdataset(tmp_path / "whole.tar").read_bytes()
    (tmp_path / "cut.tar").write_bytes(whole[:2000])
    with pytest.raises(InputError, match=r"cut\.tar cannot be read as TAR: unexpected end of data"):
        list(open_table(str(tmp_path / "cut.tar")))
    with tarfile.open(tmp_path / "member.tar", "w") as archive:
        add(archive, "x/a.json", b'{"question": ')
    with pytest.raises(InputError, match=r"member\.tar, x/a\.json is not JSON: Expecting value"):
        list(open_table(str(tmp_path / "member.tar")))


@pytest.mark.parametrize("rows", [NAMED[:1], NAMED])
def test_blank_lines_before_the_first_row_are_no_rows(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("\n \n" + lines(rows))
    assert list(open_table(str(tmp_path / "rows.jsonl"))) == rows


def test_archives_and_caches_beside_rows_are_no_rows(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(lines(NAMED))
    (tmp_path / "images.tar").write_bytes(b"any")
    (tmp_path / "cache-1234.arrow").write_bytes(b"any")
    assert list(open_table(str(tmp_path))) == NAMED
