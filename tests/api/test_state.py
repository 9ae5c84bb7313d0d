"""Calls leave the process as they found it: log levels, environment, warnings, signals, threads, random
numbers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import bare

SCRIPT = """
import logging, os, signal, sys, warnings

def state():
    import datasets, numpy, random, torch, transformers
    loggers = {name: logging.getLogger(name).level for name in sorted(logging.root.manager.loggerDict)}
    return {
        "environment": dict(os.environ),
        "levels": {"root": logging.root.level, **loggers},
        "handlers": (list(logging.root.handlers), list(logging.getLogger("mmpref").handlers)),
        "warnings": list(warnings.filters),
        "signals": {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)},
        "threads": torch.get_num_threads(),
        "gradients": torch.is_grad_enabled(),
        "random": (random.getstate(), str(numpy.random.get_state()), torch.random.get_rng_state().tolist()),
        "bars": (transformers.utils.logging.is_progress_bar_enabled(), datasets.utils.is_progress_bar_enabled()),
        "folder": os.getcwd(),
        "excepthook": sys.excepthook,
    }

if len(sys.argv) > 1:  # what libraries do when they are imported is theirs
    import datasets, evaluate, matplotlib.pyplot, peft, sentence_transformers, torch, transformers, trl, bitsandbytes
    torch.set_num_threads(2)
    before = state()
else:
    environment, filters = dict(os.environ), list(warnings.filters)
import mmpref
assert set(dir(mmpref)) == set(mmpref.__all__)
for name in mmpref.__all__:
    if len(sys.argv) > 1 or name not in ("Policy",):
        getattr(mmpref, name)
if len(sys.argv) == 1:
    assert os.environ == environment and warnings.filters == filters
    assert not {"torch", "transformers", "datasets", "trl", "peft", "numpy", "pandas", "click"} & set(sys.modules)
    sys.exit()
small = {"iterations": 1, "max_tail_tokens": 8, "max_answer_tokens": 16}
built = mmpref.build_dataset(limit=4, builder=small)
mmpref.inspect(built, model="pkg:mmpref.testbed/model")
mmpref.load_policy("pkg:mmpref.testbed/model")
adapter = mmpref.train(dataset=built, lora={"r": 4, "alpha": 8}, trainer={"max_steps": 1})
built.to_datasets()
mmpref.evaluate(adapter=adapter, benchmark="pope", limit=2)
after = state()
after["levels"] = {name: level for name, level in after["levels"].items() if name in before["levels"]}
for name, value in before.items():
    assert after[name] == value, (name, value, after[name])
"""


def test_importing_changes_nothing_and_loads_nothing_heavy(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_calls_change_no_state_of_the_process(tmp_path: Path) -> None:
    done = bare.python(SCRIPT, "calls", environment=os.environ, folder=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "it/s]" not in done.stderr, "no progress bar, of libraries neither, where nobody watches"
    assert "examples/s]" not in done.stderr


@pytest.mark.parametrize("name", ["bulid_dataset", "torch"])
def test_a_name_that_is_none_is_an_attribute_error(name: str) -> None:
    import mmpref

    with pytest.raises(AttributeError, match=name):
        getattr(mmpref, name)
