"""Fixtures shared by all tests."""

from __future__ import annotations

import gc
import importlib.metadata
import json
import logging
import os
import shutil
import signal
import sys
from collections.abc import Generator, Iterator
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Before torch is imported: the models of the tests are small, and threads of processes side by side wait for cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Examples take as long as the rest of a busy machine lets them: no test fails for that.
settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")

pytest_plugins = ["tests.hub_fixtures"]
QUIET = {
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
    "HF_HUB_VERBOSITY": "critical",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "DATASETS_VERBOSITY": "critical",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
}
"""What the program says to libraries before it imports them."""


_FEW = 100
_frozen = 0
"""Modules that were imported when garbage was last looked for in all."""


def _freeze_imported() -> None:
    """What is imported stays: trainers ask for the garbage to be collected twice a run, and it is none. To look through
    all of it takes as long as some trainings."""
    global _frozen
    gc.collect()
    gc.freeze()
    _frozen = len(sys.modules)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Imports make no garbage, and to look for it takes a sixth of their time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def pytest_collection_finish() -> None:
    _freeze_imported()
    gc.set_threshold(10_000, 10, 10)  # as the program has it


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown() -> None:
    """Much is imported by the first test that needs it."""
    if len(sys.modules) > _frozen + _FEW:
        _freeze_imported()


@pytest.fixture(scope="session", autouse=True)
def _asked_once() -> Iterator[None]:
    """Whether PEFT is installed, which accelerate looks up in PEFT's files several times a step."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(importlib.metadata, "metadata", cache(importlib.metadata.metadata))
        yield


@pytest.fixture(scope="session", autouse=True)
def _pictures_are_blank() -> Iterator[pytest.MonkeyPatch]:
    """Pictures of runs have their axes and what is in them, and stay white: to draw them is a fifth of a short
    training, and half of a build without a model. Processes of their own draw, and tests that ask for `pictures`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FigureCanvasAgg, "draw", FigureCanvasAgg.get_renderer)
        yield patch


@pytest.fixture
def pictures(_pictures_are_blank: pytest.MonkeyPatch) -> Iterator[None]:
    """Pictures of the test are drawn."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    _pictures_are_blank.undo()
    yield
    _pictures_are_blank.setattr(FigureCanvasAgg, "draw", FigureCanvasAgg.get_renderer)


@pytest.fixture(autouse=True)
def _program_ends_with_its_test() -> Iterator[None]:
    """`mmpref.cli.main.main` sets what holds for its whole process; this one has other tests to run."""
    logger, terminated = logging.getLogger("mmpref"), signal.getsignal(signal.SIGTERM)
    between = gc.get_threshold()
    before = logger.level, logger.propagate, list(logger.handlers)
    variables = {name: os.environ.get(name) for name in QUIET}
    yield
    if logger.level != before[0]:  # setting it makes every logger look for its level again
        logger.setLevel(before[0])
    logger.propagate, logger.handlers[:] = before[1:]
    signal.signal(signal.SIGTERM, terminated)
    gc.set_threshold(*between)
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replies of endpoints are kept for the test alone."""
    monkeypatch.setenv("MMPREF_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def greedy_by_its_config(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The testbed's model with the kind of ``generation_config`` that Qwen2-VL ships, which makes sampling greedy, and
    with more that `generate` would go by."""
    from mmpref.registry import resolve_path

    folder = tmp_path_factory.mktemp("models") / "greedy"
    shutil.copytree(resolve_path("pkg:mmpref.testbed/model"), folder)
    path = folder / "generation_config.json"
    own = {
        "do_sample": True,
        "temperature": 0.01,
        "top_p": 0.001,
        "top_k": 1,
        "repetition_penalty": 1.3,
        "min_p": 0.9,
        "no_repeat_ngram_size": 2,
    }
    path.write_text(json.dumps({**json.loads(path.read_text()), **own}))
    return str(folder)
