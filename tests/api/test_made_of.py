"""A finished chain that is asked for again looks at what all of its rounds were made of."""

from __future__ import annotations

import contextlib
import copy
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import mmpref
from mmpref.api.results import Iterated
from mmpref.errors import RunError
from mmpref.registry import resolve_path
from tests.api.chains import MODEL, SECTIONS, written

OPTIONS: dict[str, Any] = {"rounds": 1, "limit": 8, "kl_prompts": 0, "output": "out", "progress": False}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Iterated]:
    """Of one round on a base and a table of synonyms that a test may change. Its pairs are made without the base."""
    place = tmp_path_factory.mktemp("chain")
    shutil.copytree(resolve_path(MODEL), place / "base")
    shutil.copy(resolve_path("pkg:mmpref.testbed/synonyms.txt"), place / "synonyms.txt")
    sections = copy.deepcopy(SECTIONS)
    for section in ("train", "evaluate"):
        sections[section]["model"] = "base"
    sections["train"]["trainer"]["max_steps"] = 1
    sections["evaluate"]["limit"] = 4
    sections["evaluate"]["benchmark"]["chair"]["synonyms"] = "synonyms.txt"
    written(place, **sections | {"build-dataset": {"model": "base", "source": "testbed", "method": "mismatched"}})
    with contextlib.chdir(place):
        yield mmpref.iterate("my.yaml", **OPTIONS)


@contextlib.contextmanager
def changed(file: str) -> Iterator[None]:
    """Within it the file has another last byte."""
    path = Path(file)
    before = path.read_bytes()
    path.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    yield
    path.write_bytes(before)


@pytest.mark.parametrize(
    ("file", "told"),
    [
        ("base/model.safetensors", r"The model base has changed since out/round-1/train was made"),
        (
            "base/chat_template.jinja",
            r"chat_template.jinja of the model base has changed since out/round-1/train was made",
        ),
        ("synonyms.txt", r"The data of chair has changed since out/round-1/evaluate was made"),
    ],
)
def test_what_its_rounds_were_made_of_that_has_changed_is_told(whole: Iterated, file: str, told: str) -> None:
    for rounds in (1, 2):
        with changed(file), pytest.raises(RunError, match=f"^{told}") as refused:
            mmpref.iterate("my.yaml", **OPTIONS | {"rounds": rounds})
        assert "delete out to make it anew" in refused.value.hint, "the later steps go on from it"
    assert mmpref.iterate("my.yaml", **OPTIONS).manifest == whole.manifest, "what there is stays"


def test_of_a_chain_that_was_moved_it_is_warned(whole: Iterated, caplog: pytest.LogCaptureFixture) -> None:
    shutil.copytree("out", "moved")
    assert mmpref.iterate("my.yaml", **OPTIONS | {"output": "moved"}).manifest == whole.manifest
    assert (
        "all that its rounds name is still what moved was made of could not be checked: the folder was moved"
        in caplog.text
    )
