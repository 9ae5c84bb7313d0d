"""The door for text files: encodings, line ends, and what is no text."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from mmpref.errors import InputError
from mmpref.text_files import lines_of, open_text, read_text
from tests.test_architecture import PACKAGE

TEXT = "person, man\n图里, é\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_the_same_text_comes_out_of_every_encoding_and_line_end(tmp_path: Path, encoding: str, end: str) -> None:
    file = tmp_path / "table.txt"
    file.write_bytes(TEXT.replace("\n", end).encode(encoding))
    assert read_text(file) == TEXT
    with open_text(file) as lines:
        assert list(lines) == TEXT.splitlines(keepends=True)


def test_utf_16_of_both_byte_orders(tmp_path: Path) -> None:
    for order, mark in (("le", b"\xff\xfe"), ("be", b"\xfe\xff")):
        (tmp_path / order).write_bytes(mark + TEXT.encode(f"utf-16-{order}"))
        assert read_text(tmp_path / order) == TEXT


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"caf\xe9 au lait", r"table.txt is not UTF-8 text: byte 3, in line 1, is wrong"),
        (b"a\r\nb\rc\ncaf\xe9 au lait", r"table.txt is not UTF-8 text: byte 10, in line 4, is wrong"),
        ("person".encode("utf-16-le"), r"table.txt is not UTF-8 text: byte 1, in line 1, is wrong \(a NUL"),
        (b"a\nb\0c", r"table.txt is not UTF-8 text: byte 3, in line 2, is wrong \(a NUL"),
        (b"\xff\xfep\x00e", r"table.txt is not UTF-16-LE text: byte 4, in line 1, is wrong"),
    ],
)
def test_what_is_no_text_is_named_with_its_first_wrong_byte(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "table.txt"
    file.write_bytes(content)
    with pytest.raises(InputError, match=said):
        read_text(file)


def test_a_stream_names_the_byte_of_the_file_not_of_its_buffer(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes("é".encode() * 100_000 + b"\xff")
    with pytest.raises(InputError, match="byte 200000, in line 1, is wrong"), open_text(file) as lines:
        lines.read()


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("first", ["", "a"])
def test_a_stream_names_the_line_whatever_ends_one_and_wherever_a_block_does(
    tmp_path: Path, end: str, first: str
) -> None:
    file = tmp_path / "rows.csv"
    file.write_bytes((first + f"\u00e9{end}" * 60_000).encode() + b"\xff")
    with pytest.raises(InputError, match="in line 60001, is wrong"), open_text(file) as lines:
        lines.read()


def test_a_line_ends_where_the_file_says_and_not_within_a_value() -> None:
    within = "a\u2028b\u2029c\x85d\x0be"
    assert [lines_of(text) for text in ("", "\n", within, f"{within}\n\nx\n")] == [
        [],
        [""],
        [within],
        [within, "", "x"],
    ]


def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.txt"):
        with pytest.raises(InputError, match=f"{path.name} cannot be read"):
            read_text(path)


OUR_OWN = {
    "cli/pages/gallery.py": "a script of this package",
    "cli/list.py": "launch configurations of this package",
    "hub/cards/dataset.py": "a run's report",
    "hub/cards/render.py": "templates of this package",
    "hub/private.py": "files of a run",
    "hub/published.py": "files of a run",
    "hub/space.py": "a template of this package",
    "hub/staging.py": "files of a run",
    "data/open_source.py": "a run's state",
    "data/shards.py": "a run's state",
    "run/directory.py": "a run's state",
    "run/files.py": "a run's rows",
    "run/manifest.py": "a run's manifest",
    "cli/pages/report.py": "files of a run",
    "align/checkpoints.py": "a run's state",
    "align/feature_cache.py": "a run's state",
    "align/rloo_trainer.py": "a run's state",
    "align/preference_data.py": "a run's state",
    "align/trainer_mixin.py": "a run's state",
    "bench/identity.py": "a run's state",
    "bench/evaluate.py": "a run's results",
    "bench/judging.py": "a run's replies",
    "bench/answers.py": "a run's answers",
    "bench/answer_cache.py": "kept answers",
    "judges/dialect.py": "what a server was found to take",
    "judges/reply_cache.py": "kept replies",
    "text_files.py": "the door itself",
}
"""Modules that open text which mmpref itself, and nobody else, has written."""


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda file: str(file.relative_to(PACKAGE)))
def test_text_files_of_users_come_in_through_the_door(file: Path) -> None:
    name = file.relative_to(PACKAGE).as_posix()
    if not name.startswith("testbed/") and name not in OUR_OWN:
        assert not _text_reads(file), f"{name} opens text by itself: use mmpref.text_files"


def _text_reads(file: Path) -> list[int]:
    """Lines with ``.read_text(...)`` or a text-mode ``open(...)``."""
    found = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Attribute) and node.func.attr == "read_text":
            found.append(node.lineno)
        if isinstance(node.func, ast.Name) and node.func.id == "open":
            modes = [*node.args[1:2], *(word.value for word in node.keywords if word.arg == "mode")]
            if not any(isinstance(mode, ast.Constant) and "b" in str(mode.value) for mode in modes):
                found.append(node.lineno)
    return found
