"""The script that checks a GPU: its stages are bounded, what they found is never lost, and all of it runs on a CPU."""

from __future__ import annotations

import json
import os
import re
import sys
from importlib.metadata import requires
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests import forked

SCRIPTS = Path(__file__).parents[1] / "scripts"
PYTHON = {"python_version": "3.12", "python_full_version": "3.12.3"}
THERE = {
    *("torch", "accelerate", "sentence-transformers", "tokenizers", "safetensors", "numpy", "scipy", "pandas"),
    *("pyarrow", "pillow", "matplotlib", "anyio", "filelock", "fsspec", "h11", "hf-xet", "idna", "jinja2"),
    *("packaging", "psutil", "pyyaml", "regex", "requests", "rich", "tqdm", "typer", "typing-extensions", "xxhash"),
}
"""What a machine with a GPU has that has PyTorch for training and for looking at data, each with what it needs."""


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import gpu.stage as module

    return module


def found(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())["stages"]


def test_a_stage_ends_as_it_ended_and_keeps_what_it_found(stage: ModuleType, tmp_path: Path) -> None:
    report = stage.Report(tmp_path / "found.json")

    def fine(context: Any) -> None:
        context.add("pairs", 7)
        context.check("difference", 1e-4, 1e-3)

    def wrong(context: Any) -> None:
        context.check("difference", float("nan"), 1e-3)
        context.attempt("broken", lambda: 1 / 0)
        context.attempt("large", lambda: (_ for _ in ()).throw(MemoryError))
        context.add("later", 1)

    def raising(context: Any) -> None:
        context.add("before", 1)
        raise RuntimeError("no kernel")

    def skipped(_: Any) -> None:
        raise stage.Skipped("one device")

    def late(context: Any) -> None:
        context.add("before", 1)
        context.attempt("slow", lambda: (_ for _ in ()).throw(stage.Overrun))

    for run in (fine, wrong, raising, skipped, late):
        stage.run_stage(stage.Stage(run.__name__, 3, run), report, "cpu", True, tmp_path)
    stages = found(tmp_path / "found.json")
    assert {name: entry["status"] for name, entry in stages.items()} == {
        "fine": "done",
        "wrong": "failed",
        "raising": "failed",
        "skipped": "skipped",
        "late": "cut",
    }
    assert stages["fine"]["found"] == {"pairs": 7, "difference": {"value": 1e-4, "at most": 1e-3}}
    assert stages["wrong"]["reason"] == "difference, broken"
    assert stages["wrong"]["found"]["later"] == 1
    assert stages["wrong"]["found"]["large"] == "does not fit"
    assert "ZeroDivisionError" in stages["wrong"]["found"]["broken"]["error"]
    assert stages["raising"]["found"] == {"before": 1}
    assert "RuntimeError: no kernel (test_gpu_check.py:" in stages["raising"]["reason"]
    assert stages["skipped"]["reason"] == "one device"
    assert stages["late"]["found"] == {"before": 1}
    assert report.running() is None


def test_a_stage_that_is_cut_off_is_seen_with_what_it_had_found(stage: ModuleType, tmp_path: Path) -> None:
    report = stage.Report(tmp_path / "found.json")
    report.begin("build")
    report.add("build", "naive", 3)
    name, since = stage.Report(tmp_path / "found.json").running()
    assert name == "build"
    assert 0 <= since < 5
    report.end("build", "cut", "its process ended (-9)")
    assert found(tmp_path / "found.json")["build"]["found"] == {"naive": 3}


def test_every_method_finds_in_the_pairs_of_the_check_what_it_reads(stage: ModuleType, tmp_path: Path) -> None:
    """On a CPU two methods are trained there; the pairs must do for all."""
    from gpu import correctness

    from mmpref.align.method import METHODS
    from mmpref.align.preference_data import collect_pairs
    from mmpref.align.recipe import refuse
    from mmpref.api.options import train_recipe
    from mmpref.errors import MmprefError
    from mmpref.recipes import schema
    from mmpref.tables.open import open_table

    refused = {}
    for name in correctness.all_methods():
        recipe, method = train_recipe(**correctness.two_steps(name, tmp_path)), METHODS.get(name)
        try:
            refuse(recipe, method)
            settings = schema.build(method.settings, recipe.loss)
            (tmp_path / name).mkdir()
            found = collect_pairs(
                [open_table(spec) for spec in recipe.dataset],
                tmp_path / name,
                image_token="<image>",
                second=method.needs_second,
                needs=method.needs(settings),
                weights=method.weights_read,
                needs_weights=method.needs_weights(settings),
            )
            assert len(found.dataset) >= 2 * 4, name
        except MmprefError as error:
            refused[name] = str(error)
    assert not refused


@pytest.mark.long
def test_all_stages_run_on_a_cpu(tmp_path: Path) -> None:
    output = tmp_path / "found.json"
    done = forked.script(SCRIPTS / "gpu_check.py", "--device", "cpu", "--output", str(output))
    stages = found(output)
    assert done.returncode == 0, {name: entry for name, entry in stages.items() if entry["status"] != "done"}
    assert {name for name, entry in stages.items() if entry["status"] == "skipped"} == {"two processes"}
    assert len(stages) == 13
    assert stages["build"]["found"]["engine, 8 pairs, 64 rows"]["times_naive"] > 1
    assert stages["dpo"]["found"]["shared with checkpointing"]["times_trl"] > 0
    assert stages["memory"]["found"]["largest of pairs"] == 2
    assert stages["memory"]["found"]["largest of rows in 80 GB"] == 256
    assert stages["profile"]["found"]["dpo"]["top"]


def test_the_wheels_that_go_along_are_all_that_a_bare_gpu_machine_lacks() -> None:
    script = (SCRIPTS / "gpu_wheels.sh").read_text(encoding="utf-8")
    [names] = re.findall(r"^NAMES=\((.*?)\)", script, re.M | re.S)
    taken = {canonicalize_name(name) for name in names.split()}
    needed, looked_at = set[str](), set[tuple[str, str]]()
    queue = [("mmpref", ""), ("mmpref", "quantization")]
    while queue:
        name, extra = queue.pop()
        if name in THERE or (name, extra) in looked_at:
            continue
        looked_at.add((name, extra))
        needed.add(name)
        for needs in map(Requirement, requires(name) or ()):
            if needs.marker is None or needs.marker.evaluate({**default_environment(), **PYTHON, "extra": extra}):
                queue += [(canonicalize_name(needs.name), one) for one in ("", *needs.extras)]
    # SmolVLM's processor looks for num2words. transformers, its Hub client, click and peft are there, and too old.
    assert taken == needed - {"mmpref"} | {"num2words"}


STAGES = """
import os, signal, sys, time
from pathlib import Path
from gpu.stage import Report, Stage, run_stage

def dies(context):
    context.add("before", 1)
    os.kill(os.getpid(), signal.SIGKILL)

def hangs(context):
    context.add("before", 1)
    time.sleep(300)

def works(context):
    context.add("process", os.getpid())

output, *names = sys.argv[1:]
for run in (dies, works, hangs):
    if run.__name__ in names:
        run_stage(Stage(run.__name__, 1, run), Report(Path(output)), "cpu", True, Path(output).parent)
sys.exit("last" in names)
"""


def test_a_process_that_dies_or_hangs_takes_its_own_stage_only(
    stage: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed amid a stage, or taken down; the next stages run in another process."""
    from gpu.supervise import supervise

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(SCRIPTS), str(SCRIPTS.parent)]))
    output = tmp_path / "found.json"
    report, command = stage.Report(output), [sys.executable, "-c", STAGES, str(output)]
    seconds = {"dies": 60, "works": 60, "hangs": 0.5, "last": 60}
    supervise([stage.Stage(name, most, print) for name, most in seconds.items()], report, command, 300, grace=0.1)
    stages = found(output)
    assert {name: entry["status"] for name, entry in stages.items()} == {
        "dies": "cut",
        "works": "done",
        "hangs": "cut",
        "last": "failed",
    }
    assert stages["dies"]["found"] == {"before": 1}
    assert "its process ended (-9)" in stages["dies"]["reason"]
    assert stages["last"]["reason"] == "its process did not start (1)"


def test_a_check_that_is_not_whole_ends_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here as there is no time for it."""
    for name in ("OMP_NUM_THREADS", "PYTORCH_CUDA_ALLOC_CONF", "HF_HUB_OFFLINE"):  # which the script sets
        monkeypatch.setenv(name, "1")
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import gpu_check

    output = tmp_path / "found.json"
    words = ["gpu_check.py", "--device", "cpu", "--output", str(output), "--seconds", "1e-9", "--only", "dpo"]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as ended:
        gpu_check.main()
    assert ended.value.code == 1
    assert found(output)["dpo"]["status"] == "not run"
