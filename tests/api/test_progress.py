"""A bar is shown where somebody watches: in a terminal or a notebook, and nowhere else."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import pytest

from mmpref.api.progress import Progress, in_notebook


def test_a_kernel_counts_as_somebody_who_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not in_notebook()
    module = ModuleType("IPython")
    config: dict[str, object] = {}
    module.get_ipython = lambda: SimpleNamespace(config=config)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", module)
    assert not in_notebook(), "IPython in a terminal"
    config["IPKernelApp"] = {}
    assert in_notebook()


def test_nothing_is_written_where_stderr_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("rows") as progress:
        assert progress._bar.disable, "a bar shows nothing for its first seconds anyway"
        progress.advance(3)
        progress.reach(4, 4)
    assert capsys.readouterr() == ("", "")
