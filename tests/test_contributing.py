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

from tests import bare

ROOT = Path(__file__).parents[1]


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


def test_the_wheel_renders_cards_from_its_own_templates(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    unpacked = tmp_path / "unpacked"
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        wheel.extractall(unpacked)
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


@pytest.mark.parametrize("name", ["capabilities", "ci", "reproduce", "publish"])
def test_workflows_pin_actions_grant_little_and_store_no_token(name: str) -> None:
    text = (ROOT / ".github" / "workflows" / f"{name}.yml").read_text()
    workflow = yaml.safe_load(text)
    assert workflow["permissions"] in ({"contents": "read"}, {})
    assert "secrets." not in text
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    assert all(re.fullmatch(r"[\w./-]+@(v\d+|release/v\d+)", step["uses"]) for step in steps if "uses" in step)
    for script in re.findall(r"bash (scripts/\S+)", text):
        assert (ROOT / script).is_file(), f"{name}.yml runs {script}, which is not there"
