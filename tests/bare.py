"""Scripts in Pythons of their own whose libraries of Hugging Face are not imported yet, as those read the ``HF_...``
variables when they are: each is forked off a process that has imported what these libraries import, which takes
longer than most scripts work.
"""

from __future__ import annotations

import atexit
import functools
import gc
import importlib
import json
import os
import subprocess
import sys
import tempfile
import traceback
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, NoReturn

ROOT = Path(__file__).parents[1]
IMPORTED = (
    "bitsandbytes",
    "fsspec.implementations.local",
    "httpx",
    "jinja2.sandbox",
    "matplotlib.pyplot",
    "multiprocess.pool",
    "pandas",
    "PIL.Image",
    "psutil",
    "pyarrow.dataset",
    "pyarrow.parquet",
    "regex",
    "safetensors.torch",
    "scipy.optimize",
    "scipy.stats",
    "sklearn.metrics",
    "sympy",
    "tokenizers",
    "torch._dynamo",
    "torch._inductor.compile_fx",
    "torch.distributed.checkpoint",
    "torch.distributed.tensor",
    "torch.export",
    "xxhash",
    "yaml",
)
"""None of them imports a library of Hugging Face."""


def python(
    code: str, *arguments: str, environment: Mapping[str, str], folder: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    """``python -c CODE ARGUMENTS...`` to its end, whatever that is.

    Args:
        environment: all variables; of those that Python itself reads ``PYTHONPATH`` alone has an effect.
        folder: the working directory, which modules are looked for in first.
    """
    order = {"code": code, "arguments": arguments, "environment": dict(environment), "folder": str(folder)}
    with tempfile.TemporaryDirectory(prefix="mmpref-bare-") as streams:
        server = _server()
        assert server.stdin
        assert server.stdout
        server.stdin.write(json.dumps({**order, "streams": streams}) + "\n")
        server.stdin.flush()
        ended = int(server.stdout.readline())
        out, err = (Path(streams, name).read_text(encoding="utf-8") for name in ("out", "err"))
    return subprocess.CompletedProcess((), ended, out, err)


def module(
    name: str, *arguments: str, environment: Mapping[str, str], folder: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    """``python -m NAME ARGUMENTS...``."""
    code = f"import runpy; runpy.run_module({name!r}, run_name='__main__', alter_sys=True)"
    return python(code, *arguments, environment=environment, folder=folder)


def mmpref(
    words: Sequence[object], environment: Mapping[str, str], folder: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    """``mmpref WORDS...``."""
    return module("mmpref", *map(str, words), environment=environment, folder=folder)


@functools.cache
def _server() -> subprocess.Popen[str]:
    left_out = ("PYTHONPATH", "HF_TOKEN")
    environment = {name: value for name, value in os.environ.items() if name not in left_out} | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(Path(__file__))]
    server = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    atexit.register(server.kill)
    return server


def _serve(orders: IO[str], answers: IO[str]) -> None:
    """Fork a process for each line, and answer with its exit code when it has ended."""
    del sys.path[0]  # this file's folder
    gc.disable()  # imports make no garbage, and to look for it takes a sixth of their time
    for name in IMPORTED:
        importlib.import_module(name)
    early = {"accelerate", "datasets", "huggingface_hub", "mmpref", "peft", "transformers"} & set(sys.modules)
    assert not early, early
    gc.freeze()
    gc.enable()
    for line in orders:
        child = os.fork()
        if not child:
            _become(**json.loads(line))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), file=answers, flush=True)


def _become(code: str, arguments: list[str], environment: dict[str, str], folder: str, streams: str) -> NoReturn:
    """In the process: run the script, and end as Python does."""
    os.setsid()
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"{streams}/{name}", os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    sys.argv = ["-c", *arguments]
    sys.path[:0] = [folder, *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]
    main = sys.modules["__main__"] = types.ModuleType("__main__")
    status: object = 0
    try:
        exec(compile(code, "<string>", "exec"), main.__dict__)
    except SystemExit as ended:
        status = ended.code
    except BaseException:
        traceback.print_exc()
        status = 1
    if not isinstance(status, int | None):
        print(status, file=sys.stderr)
        status = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status or 0)


if __name__ == "__main__":
    _serve(sys.stdin, os.fdopen(os.dup(1), "w"))
