from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from mmpref.types import ImageData


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replies are kept for one test only, and the user's keys are out of reach."""
    monkeypatch.setenv("MMPREF_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MMPREF_API_KEY", "sk-very-secret")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@pytest.fixture
def image() -> ImageData:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 6), (200, 30, 30)).save(buffer, "JPEG")
    return ImageData(buffer.getvalue(), "red.jpg")
