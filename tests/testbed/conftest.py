"""The shipped checkpoint, loaded once for all tests of the testbed."""

from __future__ import annotations

from pathlib import Path

import pytest

import mmpref.testbed

ROOT = Path(mmpref.testbed.__file__).parent


@pytest.fixture(autouse=True)
def _one_thread():
    """So small a model is faster in one thread than in several, and its training is only defined for one."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def processor():
    from transformers import AutoProcessor

    return AutoProcessor.from_pretrained(ROOT / "model")


@pytest.fixture(scope="session")
def model():
    from transformers import AutoModelForImageTextToText

    return AutoModelForImageTextToText.from_pretrained(ROOT / "model").eval()
