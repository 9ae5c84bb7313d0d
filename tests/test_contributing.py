"""What CONTRIBUTING.md and the workflows say is true: the plugin works as printed, the wheel has its templates."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from mmpref.align.report_to import TRACKERS
from tests import bare

ROOT = Path(__file__).parents[1]
ENDINGS = {".py", ".yaml", ".json", ".txt", ".md", ".j2", ".jinja", ".js", ".png", ".safetensors"}
"""Of the package's files."""


def _mmpref(path: Path, *arguments: str) -> str:
    """Run the command line with `path` first on the import path, away from the checkout."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(path), *filter(None, [os.environ.get("PYTHONPATH")])])}
    done = bare.mmpref(arguments, env, path)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.long
def test_the_plugin_works_as_printed(tmp_path: Path) -> None:
    blocks = re.findall(
        r"`([\w./]+)`[^\n]*:?\n(?:[^\n]+\n)*\n```\w+\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.S
    )
    files = dict(blocks)
    assert files.keys() == {"pyproject.toml", "mmpref_controls/builders/other_answer.py", "control.yaml"}
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    for package in ("mmpref_controls", "mmpref_controls/builders"):
        (tmp_path / package / "__init__.py").touch()
    # What installing does with the entry point, without an installation.
    group, name, value = re.search(r'entry-points\."([\w.]+)"\]\n(\w+) = "([\w.]+)"', files["pyproject.toml"]).groups()
    info = tmp_path / "mmpref_controls-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mmpref-controls\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {value}\n")
    listed = {entry["name"]: entry["what"] for entry in json.loads(_mmpref(tmp_path, "list", "datasets", "--json"))}
    assert listed["other-answer"] == "The answer to another image as the rejected one: a control."
    assert "bdhs" in listed
    arguments = (
        "--recipe",
        "control.yaml",
        "--model",
        "pkg:mmpref.testbed/model",
        "--source",
        "testbed",
        "--limit",
        "6",
    )
    _mmpref(tmp_path, "build-dataset", *arguments, "--output", "pairs")
    card = (tmp_path / "pairs" / "README.md").read_text()
    assert "The answer to another image as the rejected one: a control." in card
    assert "--set builder.shift=2" in card
    assert "not measured" in card


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    [path] = folder.glob("*.whl")
    return path


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as opened:
        names = {member.filename: member.file_size for member in opened.infolist()}
    files = (path for path in (ROOT / "mmpref").rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    package = {path.relative_to(ROOT).as_posix() for path in files}
    templates = {f"mmpref/hub/cards/templates/{kind}_card.md.j2" for kind in ("dataset", "model")}
    about = {name for name in names if name.partition("/")[0].endswith(".dist-info")}
    assert names.keys() == package | templates | about
    assert {name.rpartition("/")[2] for name in about} == {"METADATA", "WHEEL", "RECORD", "LICENSE", "entry_points.txt"}
    assert {Path(name).suffix for name in package} <= ENDINGS, "no caches, pickles, notebooks or keys"
    assert sum(names.values()) < 8e6


def test_the_wheel_renders_cards_from_its_own_templates(wheel: Path, tmp_path: Path) -> None:
    unpacked = tmp_path / "unpacked"
    with zipfile.ZipFile(wheel) as opened:
        opened.extractall(unpacked)
    for kind in ("dataset", "model"):
        packaged = unpacked / "mmpref" / "hub" / "cards" / "templates" / f"{kind}_card.md.j2"
        assert packaged.read_bytes() == (ROOT / f"{kind}_cards" / "template.md.j2").read_bytes()
        packaged.write_text(f"the wheel's {kind} template")
        code = f"import mmpref.hub.cards.render as c; print(c.__file__); print(c.template({kind!r}))"
        env = {**os.environ, "PYTHONPATH": str(unpacked)}
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True, check=True
        )
        assert done.stdout.splitlines() == [
            str(unpacked / "mmpref/hub/cards/render.py"),
            f"the wheel's {kind} template",
        ]


WORKFLOWS = sorted(path.stem for path in (ROOT / ".github" / "workflows").glob("*.yml"))


@pytest.mark.parametrize("name", WORKFLOWS)
def test_workflows_pin_actions_grant_little_and_store_no_token(name: str) -> None:
    text = (ROOT / ".github" / "workflows" / f"{name}.yml").read_text()
    workflow = yaml.safe_load(text)
    assert workflow["permissions"] in ({"contents": "read"}, {})
    assert "secrets." not in text
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    assert all(re.fullmatch(r"[\w./-]+@(v\d+|release/v\d+)", step["uses"]) for step in steps if "uses" in step)
    for script in re.findall(r"bash (scripts/\S+)", text):
        assert (ROOT / script).is_file(), f"{name}.yml runs {script}, which is not there"


def _commands(job: str) -> str:
    """What a job of the workflow for what is not installed elsewhere runs."""
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "capabilities.yml").read_text())
    return "\n".join(step.get("run", "") for step in workflow["jobs"][job]["steps"])


def _tests_with(pattern: str) -> set[str]:
    return {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "tests").rglob("test_*.py")
        if re.search(pattern, path.read_text(encoding="utf-8")) and path != Path(__file__)
    }


@pytest.mark.parametrize(
    ("job", "skips"),
    [("test", r"find_spec\(.lmms_eval.\)"), ("trackers", r"find_spec\(.codecarbon.\)|in report_to\.TRACKERS")],
)
def test_all_tests_of_what_is_not_installed_run_somewhere(job: str, skips: str) -> None:
    wanting = _tests_with(skips)
    assert len(wanting) > 1
    assert set(re.findall(r"tests/\S+\.py", _commands(job))) == wanting


def test_the_workflow_installs_every_tracker_by_its_version() -> None:
    pins = _commands("trackers") + (ROOT / "scripts" / "constraints.txt").read_text()
    assert [name for name in TRACKERS if not re.search(rf"\b{name}(-skinny)?==\d", pins)] == []
    [imported] = re.findall(r'-c "import (.*)"', _commands("trackers"))
    assert imported.split(", ") == sorted(TRACKERS), "a test of one that is not there would skip"


def test_the_demo_space_is_opened_somewhere_and_seen() -> None:
    assert "bash scripts/check_space.sh" in _commands("space")
    script = (ROOT / "scripts" / "check_space.sh").read_text()
    assert set(re.findall(r"tests/\S+\.py", script)) == _tests_with(r"find_spec\(.gradio.\)")
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "capabilities.yml").read_text())
    *_, checked, kept = workflow["jobs"]["space"]["steps"]
    assert checked["env"]["MMPREF_SCREENSHOTS"].endswith(kept["with"]["path"])
    assert kept["with"]["if-no-files-found"] == "error", "it would skip where there is no browser"


def test_a_schedule_goes_on_with_the_study_and_keeps_what_it_has_measured_whatever_fails() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "study.yml").read_text())
    assert "schedule" in workflow[True], "YAML reads the key `on` so"
    job = workflow["jobs"]["study"]
    minutes = next(re.search(r"run_study.sh .* (\d+)$", step["run"]) for step in job["steps"] if "run" in step)
    assert minutes is not None
    assert int(minutes[1]) + 30 < job["timeout-minutes"], "a run that was begun ends in time"
    kept = [step for step in job["steps"] if "cache/save" in step.get("uses", "") or "upload" in step.get("uses", "")]
    assert [step["if"] for step in kept] == ["always()", "always()"]
    restored = next(step for step in job["steps"] if "cache/restore" in step.get("uses", ""))
    assert restored["with"]["path"] == kept[0]["with"]["path"] == "runs"


def test_a_study_goes_on_from_what_the_repository_has(tmp_path: Path) -> None:
    """`scripts/run_study.sh` where nothing was run, and again: with a Python that says what it was asked for."""
    for name in ("run_study.sh", "_setup.sh", "constraints.txt"):
        (tmp_path / "scripts").mkdir(exist_ok=True)
        (tmp_path / "scripts" / name).write_bytes((ROOT / "scripts" / name).read_bytes())
    (tmp_path / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    (tmp_path / "model_cards" / "study" / "ledger").mkdir(parents=True)
    (tmp_path / "model_cards" / "study" / "ledger" / "bases.json").write_text("{}")
    python = tmp_path / "env" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/usr/bin/env bash\necho "$@"\n')
    python.chmod(0o755)

    def goes_on(name: str) -> str:
        done = subprocess.run(
            ["bash", "scripts/run_study.sh", name, "7"],
            cwd=tmp_path,
            env={**os.environ, "MMPREF_VENV": str(python.parents[1])},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    for found in ("{}", "mine"):
        said = goes_on("study")
        assert re.search(r"reproduce study --output runs/reproduce-study --minutes 7 --jobs \d+$", said, re.M)
        ledger = tmp_path / "runs" / "reproduce-study" / "ledger" / "bases.json"
        assert ledger.read_text() == found
        ledger.write_text("mine")
        assert "vision" not in said
    assert "-e .[vision]" in goes_on("sizes"), "Qwen2.5-VL's processor is loaded there"
    (tmp_path / "model_cards" / "study" / "bases" / "1-abc").mkdir(parents=True)
    (tmp_path / "model_cards" / "rivals" / "ledger").mkdir(parents=True)
    goes_on("rivals")
    assert (tmp_path / "runs" / "reproduce-rivals" / "bases" / "1-abc").is_dir(), "it was measured on the study's bases"
