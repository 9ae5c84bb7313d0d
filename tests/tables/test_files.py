"""Files of rows, as JSON, CSV and Parquet: whole, packed, and broken."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from pathlib import Path

import pandas as pd
import pytest

from mmpref.errors import InputError
from mmpref.tables.open import open_table


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"a": 1}\n\n{"a": \n', r"rows.jsonl, line 3 is not JSON"),
        ('{"a": 1}\n[1]\n', r"rows.jsonl, line 2 is a list, not a row"),
        ('[{"a": 1},\n {"a" 2}]', r"rows.jsonl, line 2, row 1 \(counted from 0\), is not JSON"),
        ('[{"a": 1},\n {"a": 2}', r"rows.jsonl, line 2, row 2 \(counted from 0\), is not JSON: the array is cut off"),
        ('[{"a": 1}\n {"a": 2}]', r"line 2, row 1 \(counted from 0\), is not JSON: found '\{'"),
        ('[{"a": 1}, 3]', r"rows.jsonl, row 1 \(counted from 0\) is a int, not a row"),
        ('[{"a": 1}]\nmore', r"text after the end of the array"),
        ("[" * 100_000, r"not JSON"),
        ('{"a": ' + "[" * 100_000, r"line 1 is not JSON"),
        ('{\n "a": 1\n}\n', r"rows.jsonl is one JSON object over several lines, not rows\. A file holds"),
        ('{\n "a": \n}\n', r"line 1 is not JSON"),
    ],
)
def test_broken_json_is_named_by_its_line(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(content)
    with pytest.raises(InputError, match=message):
        list(open_table(str(file)))


@pytest.mark.parametrize("held", [1, 2, 7, 1 << 20])
def test_a_json_array_is_read_piece_by_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: int) -> None:
    """Whatever the pieces are cut through, rows and the lines in errors are the same."""
    monkeypatch.setattr("mmpref.tables._files._BUFFER", held)
    rows = [{"a": "\u00e9]},[{" * n, "b": [n, None, {"c": 1.5}]} for n in range(9)]
    content = " [\n" + ",\n\n".join(json.dumps(row, ensure_ascii=bool(row["b"][0])) for row in rows)
    file = tmp_path / "rows.json"
    file.write_text(f"{content}\n]\n ", encoding="utf-8")
    assert list(open_table(str(file))) == rows
    file.write_text(f'{content},\n{{"a": "b" 3}}]', encoding="utf-8")
    with pytest.raises(InputError, match=r"line 19, row 9 \(counted from 0\), is not JSON: Expecting ',' delimiter"):
        list(open_table(str(file)))
    file.write_text(f"{content},\n{{", encoding="utf-8")
    with pytest.raises(InputError, match=r"line 19, row 9 \(counted from 0\), is not JSON: Expecting property name"):
        list(open_table(str(file)))
    file.write_text("[]", encoding="utf-8")
    assert list(open_table(str(file))) == []


@pytest.mark.parametrize("missing", ["", "NaN"])
def test_what_pandas_lacks_is_missing_in_its_csv(tmp_path: Path, missing: str) -> None:
    file = tmp_path / "rows.csv"
    pd.DataFrame({"a": ["x", None], "b": [float("nan"), 1]}).to_csv(file, na_rep=missing)
    assert list(open_table(str(file))) == [{"a": "x", "b": None}, {"a": None, "b": "1.0"}]


def test_a_json_array_is_not_held_in_memory(tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    row = json.dumps({"a": "x" * 1000})
    file.write_text("[" + ",\n".join([row] * 20_000) + "]", encoding="utf-8")
    table = open_table(str(file))
    tracemalloc.start()
    try:
        assert sum(1 for _ in table) == 20_000
        assert tracemalloc.get_traced_memory()[1] < 6_000_000
    finally:
        tracemalloc.stop()


def test_other_broken_files(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 but not really PAR1")
    (tmp_path / "b.jsonl").write_bytes(b'{"a": "\xff\xfe"}\n')
    (tmp_path / "c.jsonl").write_bytes("\ufeff".encode() + b'{"a": 1}\n')
    (tmp_path / "d.jsonl").write_text(" \n")
    with pytest.raises(InputError, match=r"a.parquet cannot be read as Parquet"):
        list(open_table(str(tmp_path / "a.parquet")))
    with pytest.raises(InputError, match=r"b.jsonl is not UTF-8"):
        list(open_table(str(tmp_path / "b.jsonl")))
    assert list(open_table(str(tmp_path / "c.jsonl"))) == [{"a": 1}]
    assert list(open_table(str(tmp_path / "d.jsonl"))) == []


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.csv", 'id,question,answer\r\n0,"What, then?","two\nlines"\r\n1,So?,\r\n'),
        ("rows.tsv", 'id\tquestion\tanswer\n0\tWhat, then?\t"two\nlines"\n1\tSo?\t\n'),
        ("rows.csv", ',id,question,answer\n7,0,"What, then?","two\nlines"\n8,1,So?,\n'),
        ("rows.csv", 'id;question;answer\n0;"What, then?";"two\nlines"\n1;So?;\n'),
        ("rows.csv.gz", 'id,question,answer\n0,"What, then?","two\nlines"\n\n1,So?,""\n'),
        (
            "train.jsonl.gz",
            '{"id": "0", "question": "What, then?", "answer": "two\\nlines"}\n'
            '{"id": "1", "question": "So?", "answer": null}\n',
        ),
        (
            "rows.json.gz",
            '[{"id": "0", "question": "What, then?", "answer": "two\\nlines"},'
            '{"id": "1", "question": "So?", "answer": null}]',
        ),
    ],
)
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_csv_and_packed_files(tmp_path: Path, name: str, content: str, mark: str) -> None:
    encoded = (mark + content).encode()
    (tmp_path / name).write_bytes(gzip.compress(encoded) if name.endswith(".gz") else encoded)
    rows = [
        {"id": "0", "question": "What, then?", "answer": "two\nlines"},
        {"id": "1", "question": "So?", "answer": None},
    ]
    assert list(open_table(str(tmp_path / name))) == rows
    assert list(open_table(str(tmp_path))) == rows


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"a,b\n1,2\n1,2,3\n", r"a.csv, line 3 has 3 cells; the header has 2"),
        ("a.csv", b"a,a\n1,2\n", r"a.csv has two columns 'a'"),
        ("a.csv", b'a,b\n"1"x,2\n', r"a.csv, line 2 is not CSV"),
        ("a.csv", b"a,b\n\xff,2\n", r"a.csv is not UTF-8"),
        ("a.jsonl.gz", b"no gzip", r"a.jsonl.gz cannot be read: Not a gzipped file"),
        (
            "a.jsonl.gz",
            gzip.compress(b'{"a": 1}\n' * 2000, mtime=0)[:-12],
            r"a.jsonl.gz cannot be read: .*end-of-stream",
        ),
        ("a.jsonl", b'{"a": "\xff"}', r"a.jsonl is not UTF-8"),
    ],
)
def test_broken_csv_and_packed_files(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        list(open_table(str(tmp_path / name)))
