"""Samples on which two models differ, with their images where these can be had."""

from __future__ import annotations

import importlib.abc
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmpref.bench.disagreements import disagreements
from mmpref.bench.finished_model import read_finished
from mmpref.run.results import Key
from tests.bench.finished_runs import finished_run


class _Wanted(importlib.abc.MetaPathFinder):
    """Notes which modules of lmms-eval are looked for."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def find_spec(self, fullname: str, *_: Any) -> None:
        if fullname.partition(".")[0] == "lmms_eval":
            self.names.append(fullname)


def test_code_of_others_is_not_run_to_show_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = {"model": "me/vlm", "benchmarks": ["lmms-eval:mine"], "benchmark": {"lmms-eval:mine": {}}}
    right = {"base": np.array([1, 0, 0, 1.0]), "adapter": np.array([0, 1, 1, 1.0])}
    run = finished_run(tmp_path / "run", right, benchmark="lmms-eval.mine", recipe=recipe)
    base, adapter = read_finished([run])
    wanted = _Wanted()
    monkeypatch.setattr(sys, "meta_path", [wanted, *sys.meta_path])
    found = disagreements(base, adapter, Key("lmms-eval.mine", "accuracy", "all"), 4)
    assert (found.wins, found.losses, len(found.won), len(found.lost)) == (2, 1, 2, 1)
    assert all(row.images == () for row in (*found.won, *found.lost))
    assert not wanted.names
