"""`mmpref compare` on real runs: tables with tests, and a page that needs no network."""

from __future__ import annotations

import html
import json
import re
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner

from mmpref.bench.evaluate import evaluate
from mmpref.bench.plan import load_plan
from mmpref.bench.recipe import EvaluateRecipe
from mmpref.cli.main import program
from mmpref.errors import UsageError
from tests.bench.conftest import MODEL
from tests.bench.finished_runs import finished_run
from tests.bench.test_paired import SETTINGS


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Base and a second base under another name: the adapter of this run is written by PEFT with random weights."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForImageTextToText

    from mmpref.registry import resolve_path

    folder = tmp_path_factory.mktemp("compare")
    base = AutoModelForImageTextToText.from_pretrained(resolve_path(MODEL), dtype=torch.float32)
    torch.manual_seed(0)  # lora_A is drawn too
    model = get_peft_model(base, LoraConfig(r=4, target_modules=r"model\.language_model\..*\.(?:q|v)_proj"))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.5)
    model.save_pretrained(str(folder / "adapter"))
    evaluate(
        EvaluateRecipe(MODEL, ("pope", "chair"), adapter=str(folder / "adapter"), benchmark=SETTINGS, limit=30),
        folder / "run",
    )
    return folder / "run"


def test_tables_with_tests(run: Path) -> None:
    done = CliRunner().invoke(program, ["compare", str(run)])
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[:2] == ["base  run: base", "adapter  run: adapter"]
    assert [line.split()[:2] for line in lines[5:7]] == [["chair", "chair_i"], ["pope", "accuracy"]]
    assert all(re.search(r"(better|worse|no clear change|form only)$", line.rstrip()) for line in lines[5:7])
    assert max(map(len, lines[:7])) <= 80
    assert "difference from the first column that has the benchmark" in done.output
    assert re.search(r"pope accuracy +[-+]\d\.\d{3} \[.*\] +[a-z* ]* +(<0\.001|\d\.\d{3}) Holm", done.output)
    assert "Headline metrics (2 here)" in done.output
    assert re.search(r"pope \d+ images, chair 30 images\.", done.output)
    assert re.search(r"pope accuracy +0\.\d{3} \[.*\] +30\n", done.output), "n stands beside the values"
    as_json = json.loads(CliRunner().invoke(program, ["compare", str(run), "--json"]).stdout)
    assert len(as_json["tests"]) == len(as_json["rows"])


def test_more_than_two_models_are_told_apart_in_80_columns(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(run, tmp_path / "again")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    program.main(["compare", str(run), str(tmp_path / "again")], standalone_mode=False)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
    assert lines[:3] == ["A  again, run: base", "B  run: adapter", "C  again: adapter"]
    assert [line.partition("  ")[0] for line in lines[6:10]] == [
        "chair chair_i (A, B) ↓",
        "chair chair_i (A, C) ↓",
        "pope accuracy (A, B) ↑",
        "pope accuracy (A, C) ↑",
    ]
    assert max(map(len, map(str.rstrip, lines))) <= 80
    assert any(re.fullmatch(r"metric +A +B +C +n", line.rstrip()) for line in lines), "values without intervals fit"


def test_the_page(run: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(program, ["compare", str(run), "--html", str(tmp_path / "page.html")])
    assert done.exit_code == 0, done.output
    page = (tmp_path / "page.html").read_text()
    assert "<td>chair chair_i ↓</td>" in page[: page.index("<h2>Plots</h2>")]
    assert page.count("<details>") == 2, "all metrics are folded"
    assert "chair: hallucination against recall" in page
    assert "Losses: " in page
    assert re.search(r"<p>Intervals are over images, .*: pope \d+ images, chair 30 images\.", page)
    assert re.search(r"<td>pope accuracy</td><td>.*</td><td>.*</td><td>30</td>", page), "n stands beside the values"
    assert "{'objects'" not in html.unescape(page), "references are words, not Python"
    assert not re.search(r"(?:src|href)=\"(?!data:)", page)
    assert page.count("data:image/png") > 3


def test_the_page_of_several_runs_reads_the_data_of_each_benchmark_once(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def reading(name: str, *args: Any) -> Any:
        read.append(name)
        return load_plan(name, *args)

    monkeypatch.setattr("mmpref.bench.disagreements.load_plan", reading)
    runs = [str(run), *(str(shutil.copytree(run, tmp_path / name)) for name in ("second", "third"))]
    done = CliRunner().invoke(program, ["compare", *runs, "--html", str(tmp_path / "page.html")])
    assert done.exit_code == 0, done.output
    page = (tmp_path / "page.html").read_text()
    assert all(f"{name}: adapter against" in html.unescape(page) for name in ("run", "second", "third"))
    assert sorted(read) == ["chair", "pope"]


def test_text_of_models_and_data_is_escaped(run: Path, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    shutil.copytree(run, tmp_path / "run")
    file = tmp_path / "run/samples/adapter-pope.parquet"
    rows = pq.read_table(file).to_pylist()
    pq.write_table(pa.Table.from_pylist([{**row, "answer": "<script>alert(1)</script>"} for row in rows]), file)
    CliRunner().invoke(program, ["compare", str(tmp_path / "run"), "--html", str(tmp_path / "page.html")])
    page = (tmp_path / "page.html").read_text()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_adapters_of_one_base_are_told_how_they_are_tested_against_each_other(tmp_path: Path) -> None:
    runs = [tmp_path / name for name in ("an idea", "control", "third")]
    for path in runs:
        right = {"base": np.ones(40), "adapter": np.arange(40) % 2.0}
        finished_run(path, right, weights=path.name)

    def shown(*words: object) -> str:
        done = CliRunner().invoke(program, ["compare", *map(str, words), "--html", str(tmp_path / "page.html")])
        assert done.exit_code == 0, done.output
        page = html.unescape((tmp_path / "page.html").read_text())
        lines = [line for line in done.stdout.splitlines() if "not against each other" in line]
        assert lines == re.findall(r"<p>(.*not against each other.*)</p>", page)
        return "".join(lines)

    command = shlex.split(shown(*runs).partition(": mmpref compare ")[2])
    assert command == [*map(str, runs[:2]), "--baseline", str(runs[2])]
    assert shown(*command) == shown(runs[0]) == shown(*runs, "--baseline", f"{runs[0]}#base") == ""


def test_an_arm_is_named_once() -> None:
    """Of an arm that is named twice the first runs would not count."""
    done = CliRunner().invoke(program, ["compare", "--arm", "dpo=a", "--arm", "dpo=b"], standalone_mode=False)
    assert isinstance(done.exception, click.BadParameter)
    assert "name all of its runs at once" in done.exception.message


def test_an_arm_of_one_run_is_over_images_and_has_no_margin(tmp_path: Path) -> None:
    base = np.arange(40) % 2.0
    runs = [
        str(finished_run(tmp_path / name, {"base": base, "adapter": 1 - base * (np.arange(40) > number)}, weights=name))
        for number, name in enumerate("abc")
    ]
    one = ["compare", "--arm", f"dpo={runs[0]}"]
    shown = CliRunner().invoke(program, one).stdout
    assert "95 % interval over images]" in shown
    assert "over seeds and images" not in shown
    assert (
        "interval over seeds and images]" in CliRunner().invoke(program, [*one[:2], f"dpo={','.join(runs[:2])}"]).stdout
    )
    mixed = CliRunner().invoke(program, [*one, "--arm", f"bdhs={runs[1]},{runs[2]}"]).stdout
    assert "over seeds and images (of one run over images)" in mixed
    done = CliRunner().invoke(program, [*one, "--margin", "pope=0.02"])
    assert isinstance(done.exception, UsageError)
    assert "arms have no margin" in done.exception.hint
