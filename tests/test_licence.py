"""What cards say of licences: what cannot be read is not taken for what is not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmpref.licence import UNREADABLE, licence_of_card, licence_of_folder
from mmpref.tables.open import open_table

ROW = '{"prompt": "What?", "chosen": "A.", "rejected": "B.", "image": "no.png"}\n'


@pytest.mark.parametrize(
    ("metadata", "licence"),
    [
        ("license: cc-by-nc-nd-4.0", "cc-by-nc-nd-4.0"),
        ("license: [cc-by-nc-nd-4.0, other]", "cc-by-nc-nd-4.0 and other"),
        ("license:\n- mit", "mit"),
        ("license: other\nlicense_name: our-terms", "our-terms"),
        ("license: other\nlicense_name: mit", "other"),
        ("license: [mit, other]\nlicense_name: our terms", "mit and our terms"),
        ("License: CC-BY-ND-4.0", "CC-BY-ND-4.0"),
        ("licence: cc-by-nd-4.0", "cc-by-nd-4.0"),
        ("license: {name: mit}", UNREADABLE),
        ("license: 4.0", UNREADABLE),
        ("license: no", UNREADABLE),
        ("license: [mit, {a: b}]", UNREADABLE),
        ("license: [", UNREADABLE),
        ("license: mit\nreleased: 2024-13-45", UNREADABLE),
        ("just text", UNREADABLE),
        ("license:", None),
        ("license: []", None),
        ("license: ''", None),
        ("tags: [a]", None),
    ],
)
def test_the_licence_that_metadata_state(metadata: str, licence: str | None) -> None:
    assert licence_of_card(f"---\n{metadata}\n---\n# Set\n\nlicense: gpl\n") == licence


def test_cards_without_metadata_and_with_metadata_that_never_end() -> None:
    assert licence_of_card("# Set\n\n---\nlicense: mit\n---\n") is None
    assert licence_of_card("") is None
    assert licence_of_card("---\nlicense: cc-by-nd-4.0\n# no end\n") == UNREADABLE


CARD = "---\nlicense: cc-by-nc-nd-4.0\n---\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_card_of_any_encoding(tmp_path: Path, encoding: str, end: str) -> None:
    (tmp_path / "train.jsonl").write_text(ROW)
    (tmp_path / "README.md").write_bytes(CARD.replace("\n", end).encode(encoding))
    assert open_table(str(tmp_path)).licence == "cc-by-nc-nd-4.0"


def test_a_card_that_is_no_text_is_unreadable(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text(ROW)
    (tmp_path / "README.md").write_bytes(b"---\nlicense: cc-by-nd-4.0\nauthor: Andr\xe9\n---\n")
    assert open_table(str(tmp_path)).licence == UNREADABLE


@pytest.mark.parametrize("place", ["train.jsonl", "data/train.jsonl", "data/train/rows.jsonl", "one"])
def test_the_card_stands_beside_or_above_the_data(tmp_path: Path, place: str) -> None:
    (tmp_path / "README.md").write_text(CARD)
    file = tmp_path / place if place != "one" else tmp_path / "one/rows.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(ROW)
    assert open_table(str(tmp_path / place)).licence == "cc-by-nc-nd-4.0"


def test_other_layouts_have_cards_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    rows = datasets.Dataset.from_dict({"a": [1]})
    rows.save_to_disk(tmp_path / "saved")
    assert open_table(str(tmp_path / "saved")).licence is None
    (tmp_path / "saved/README.md").write_text(CARD)
    assert open_table(str(tmp_path / "saved")).licence == "cc-by-nc-nd-4.0"
    rows.info.license = "cc-by-nd-4.0"
    rows.save_to_disk(tmp_path / "info")
    assert open_table(str(tmp_path / "info")).licence == "cc-by-nd-4.0"
    (tmp_path / "csv").mkdir()
    (tmp_path / "csv/train.csv").write_text("a\n1\n")
    (tmp_path / "csv/README.md").write_text(CARD)
    assert open_table(str(tmp_path / "csv")).licence == "cc-by-nc-nd-4.0"


def test_a_licence_file_without_a_card_is_there_to_be_read(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text(ROW)
    assert licence_of_folder(tmp_path) is None
    (tmp_path / "LICENSE.txt").write_text("Do not.")
    assert licence_of_folder(tmp_path) == UNREADABLE
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n")
    assert licence_of_folder(tmp_path) == "mit"


def test_a_repository_ends_where_its_history_begins(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(CARD)
    (tmp_path / "set/.git").mkdir(parents=True)
    (tmp_path / "set/train.jsonl").write_text(ROW)
    assert open_table(str(tmp_path / "set")).licence is None
