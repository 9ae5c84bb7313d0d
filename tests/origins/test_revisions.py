"""What a model's card says of its licence, however the file is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmpref.origins.revisions import licence_of


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("\ufeff---\nlicense: cc-by-nc-4.0\n---\n", "cc-by-nc-4.0"),
        ("\ufeff---\r\nlicense: [mit]\r\n---\r\n", "mit"),
        ("---\nlicense:\n- apache-2.0\n- cc-by-nc-nd-4.0\n---\n", "apache-2.0 and cc-by-nc-nd-4.0"),
    ],
)
def test_bom_and_list(card: str, licence: str, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_bytes(card.encode())
    assert licence_of(str(tmp_path), None) == licence
