"""The shipped checkpoint, loaded once for all tests of the testbed."""

from __future__ import annotations

from pathlib import Path

import pytest

import mmpref.testbed

ROOT = Path(mmpref.testbed.__file__).parent


@pytest.fixture(scope="session")
def processor():
    from transformers import AutoProcessor

    return AutoProcessor.from_pretrained(ROOT / "model")


@pytest.fixture(scope="session")
def model():
    from transformers import AutoModelForImageTextToText

    return AutoModelForImageTextToText.from_pretrained(ROOT / "model").eval()
