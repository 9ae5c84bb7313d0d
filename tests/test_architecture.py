"""Imports go down only, and what should be light is light."""

from __future__ import annotations

import ast
import functools
import graphlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "mmpref"
LAYERS = {
    "counts": 0,
    "errors": 0,
    "log": 0,
    "types": 0,
    "version": 0,
    "words": 0,
    "workers": 1,
    "reasons": 0,
    "refusals": 0,
    "local_paths": 0,
    "hub_ids": 1,
    "hub_cache": 2,
    "hub_commits": 2,
    "reasoning": 1,
    "text_files": 1,
    "synonyms": 1,
    "licence": 2,
    "registry": 1,
    "recipes": 1,
    "images": 1,
    "image_metadata": 1,
    "rng": 1,
    "distributed": 2,
    "run": 2,
    "tables": 2,
    "origins": 2,
    "vlm": 3,
    "sampling": 4,
    "judges": 4,
    "hub": 4,
    "data": 5,
    "align": 5,
    "bench": 5,
    "api": 6,
    "study": 7,
    "cli": 8,
    "testbed": 8,
}
APART = {"data", "align", "bench", "hub", "judges", "sampling"}
"""Of these, none imports another of its own layer."""


@functools.cache
def _import_nodes(file: Path) -> list[ast.Import | ast.ImportFrom]:
    """Inside functions and type-checking blocks too."""
    nodes = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    return [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]


def _imports(file: Path) -> set[str]:
    """Top-level parts of mmpref that a module imports, inside functions and type-checking blocks too."""
    found = set()
    for node in _import_nodes(file):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("mmpref"):
            parts = node.module.split(".")
            found |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("mmpref.")}
    return found


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_go_down(file: Path) -> None:
    part = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for imported in _imports(file) - {part}:
        if part not in LAYERS:
            continue
        assert imported != "testbed", "nothing imports the testbed"
        assert LAYERS[imported] <= LAYERS[part], f"{part} imports {imported}, which stands above it"
        assert not (imported in APART and LAYERS[imported] == LAYERS[part]), f"{part} and {imported} stand apart"


def test_the_formatter_wins() -> None:
    root, off = PACKAGE.parent, re.compile(r"#\s*fmt:\s*(skip|off)")
    for file in (file for folder in ("mmpref", "tests", "scripts") for file in (root / folder).rglob("*.py")):
        assert not off.search(file.read_text(encoding="utf-8")), file


def _module(file: Path) -> str:
    parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {_module(file): file for file in PACKAGE.rglob("*.py")}


def _imported_files(file: Path) -> set[str]:
    """Modules of mmpref that a file imports, inside functions and type-checking blocks too."""
    modules = set()
    for node in _import_nodes(file):
        if isinstance(node, ast.ImportFrom) and node.module:
            modules |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)} - {"mmpref"}
        elif isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
    return (modules & FILES.keys()) - {_module(file)}


def test_no_files_import_each_other_in_a_circle() -> None:
    sorter = graphlib.TopologicalSorter({name: _imported_files(file) for name, file in FILES.items()})
    try:
        sorter.prepare()
    except graphlib.CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


def test_the_package_does_not_import_its_own_face() -> None:
    for file in FILES.values():
        for node in _import_nodes(file):
            if isinstance(node, ast.ImportFrom) and node.module == "mmpref":
                assert all(f"mmpref.{alias.name}" in FILES for alias in node.names), file


def test_no_private_name_crosses_files() -> None:
    for file in FILES.values():
        for node in _import_nodes(file):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mmpref"):
                private = [
                    alias.name for alias in node.names if alias.name.startswith("_") and alias.name != "__version__"
                ]
                assert not [name for name in private if f"{node.module}.{name}" not in FILES], (file, private)
            assert not (isinstance(node, ast.ImportFrom) and node.level), f"{file} imports relatively"


def test_no_file_is_long() -> None:
    for file in FILES.values():
        assert len(file.read_text(encoding="utf-8").splitlines()) <= 400, file


def test_there_is_one_logger() -> None:
    for file in FILES.values():
        if file != PACKAGE / "log.py":
            assert 'getLogger("mmpref")' not in file.read_text(encoding="utf-8"), file


def test_hub_needs_no_models() -> None:
    for file in (PACKAGE / "hub").rglob("*.py"):
        assert not _imports(file) & {"vlm", "sampling", "data", "align", "bench", "tables"}, file


def test_help_and_names_need_no_torch() -> None:
    script = """
import sys
from click.testing import CliRunner
import mmpref
from mmpref.cli.main import COMMANDS, program
runner = CliRunner()
for arguments in (["--help"], ["--version"], *([name, "--help"] for name in COMMANDS)):
    done = runner.invoke(program, arguments)
    assert done.exit_code == 0, (arguments, done.output, done.exception)
for what in ("methods", "datasets", "benchmarks", "recipes", "studies", "families"):
    done = runner.invoke(program, ["list", what, "--json"])
    assert done.exit_code == 0, (what, done.output, done.exception)
heavy = {"torch", "transformers", "datasets", "evaluate", "trl", "peft", "numpy"} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_mistyped_keys_are_refused_without_torch() -> None:
    """Which takes seconds to import: whoever mistypes is told at once."""
    script = """
import sys
from click.testing import CliRunner
from mmpref.cli.main import program
train, says = ["train", "--model", "me/vlm", "--dataset", "me/pairs", "--set"], "Did you mean {}?".format
for arguments, hint in (
    ([*train, "trainer.learnin_rate=1"], says("'trainer.learning_rate'")),
    ([*train, "trainer.alpha=8"], says("'lora.alpha'")),
    ([*train, "trainer.xyzzy=8"], "`mmpref list settings train` names all."),
    ([*train, "trainer.beta=1"], "--set loss.KEY=VALUE"),
    ([*train, "learning_rate=1"], says("'trainer.learning_rate'")),
    ([*train, "lora.rank=4"], says("'lora.r'")),
    ([*train, "lora.xyzzy=4"], "There are: lora.r, lora.alpha, lora.dropout"),
    (["build-dataset", "--set", "builder.rho=1"], says("'builder.rho_th'")),
    (["build-dataset", "--set", "learning_rate=1"], "It is a setting of train: trainer.learning_rate."),
    (["evaluate", "--set", "benchmark.pope.sufix=x"], says("'benchmark.pope.suffix'")),
):
    done = CliRunner().invoke(program, arguments)
    assert hint in str(done.exception), (arguments, done.output, done.exception)
    heavy = {"torch", "transformers", "datasets", "trl", "peft"} & set(sys.modules)
    assert not heavy, (arguments, heavy)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_import_and_dir_need_no_torch() -> None:
    script = """
import sys, mmpref
assert {"build_dataset", "train", "evaluate", "compare", "publish", "inspect", "load_policy"} <= set(dir(mmpref))
heavy = {"torch", "transformers", "datasets", "trl", "peft", "numpy", "pandas", "click"} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_help_takes_less_than_a_quarter_of_a_second() -> None:
    """Of a processor's time, at best of five: machines may be busy with other things."""

    def seconds() -> float:
        before = os.times()
        subprocess.run([sys.executable, "-m", "mmpref", "--help"], check=True, capture_output=True)
        after = os.times()
        return after.children_user + after.children_system - before.children_user - before.children_system

    assert min(seconds() for _ in range(5)) < 0.25
