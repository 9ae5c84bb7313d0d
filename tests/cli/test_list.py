"""`mmpref list`: what an entry is, what it needs, where it is; and that a narrow terminal holds it."""

from __future__ import annotations

import json
import re
import sys

import pytest
from click.testing import CliRunner

from mmpref.cli.list import KINDS
from mmpref.cli.list import command as list_command

LISTS = sorted({*KINDS} - {"settings"})  # settings are those of a command, and have tests of their own


@pytest.mark.parametrize("what", LISTS)
def test_a_list_says_what_needs_and_where(what: str) -> None:
    rows = json.loads(CliRunner().invoke(list_command, [what, "--json"]).output)
    assert all(row.get("what") or row.get("models") for row in rows)
    if what in ("methods", "datasets", "annotators", "recipes", "studies", "launchers"):
        assert all(row["where"] for row in rows), "where it is defined, or its data are"
    if what == "benchmarks":
        assert all(row["where"] or any("data=ROWS" in need for need in row["needs"]) for row in rows)


@pytest.mark.parametrize("what", sorted({*LISTS} - {"launchers"}))
def test_a_list_fits_80_columns(what: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    list_command.main([what], standalone_mode=False)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
    assert max(len(line.rstrip()) for line in lines) <= 80


def test_needs_are_the_options_that_a_command_wants() -> None:
    def needs(what: str) -> dict[str, list[str]]:
        rows = json.loads(CliRunner().invoke(list_command, [what, "--json"]).output)
        return {row["name"]: row["needs"] for row in rows}

    embedder = "an embedder (--similarity-model)"
    assert needs("datasets")["corrupt"] == ["--source", "--annotator", embedder]
    assert needs("datasets")["same-kind"] == ["--model", "--source", embedder]
    assert needs("datasets")["mismatched"] == ["--source"]
    assert needs("datasets")["chair-rank"][-1] == embedder, "a method with another setting that has no default, too"
    assert needs("methods")["online-bdhs"][-1] == "an embedder (--set loss.bdhs.similarity_model)"
    assert needs("methods")["avg-dpo"][-1] == "a second rejected answer (rejected_policy)"
    assert needs("methods")["rloo"] == ["--set loss.reward=RUN"]
    assert needs("benchmarks")["mmhal"] == ["--judge"]


def test_its_usage_is_one_line_that_names_what_there_is() -> None:
    text = CliRunner().invoke(list_command, ["--help"], prog_name="mmpref list").output
    assert text.splitlines()[:2] == ["Usage: mmpref list [OPTIONS] WHAT [COMMAND [NAME]]", ""]
    assert all(kind in text for kind in KINDS)
    lacking = CliRunner().invoke(list_command, [], prog_name="mmpref list").output
    assert "Missing argument 'WHAT'" in lacking
    assert all(f"\t{kind}" in lacking for kind in KINDS)
