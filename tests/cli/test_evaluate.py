"""``mmpref evaluate`` and ``mmpref compare`` from outside: what the tables say."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from mmpref.bench.export import save
from mmpref.cli.format import print_results
from mmpref.cli.main import program
from mmpref.log import each_once, warn
from mmpref.registry import resolve_path
from mmpref.run.results import Results
from tests.bench.conftest import png, write_rows
from tests.hub.runs import evaluation


def _content(missing: int = 0) -> dict[str, Any]:
    row = {
        "benchmark": "pope",
        "metric": "accuracy",
        "split": "all",
        "value": 0.5,
        "low": 0.4,
        "high": 0.6,
        "missing": missing,
        "n": 90,
    }
    return {
        "results": [
            {**row, "model": "base", "parse_failures": 3},
            {**row, "model": "adapter", "parse_failures": 17, "n": 88},
        ],
        "differences": [{**row, "value": 0.1}],
    }


def _cells(text: str) -> dict[str, str]:
    """Column -> cell of the table of details, with one row; columns are right-aligned, more than one space apart."""
    _, head, row = (line.rstrip() for line in text.partition("\n\n")[2].splitlines()[:3])
    return dict(zip(head.split(), re.split(r"\s{2,}", row), strict=True))


def test_unparsed_answers_of_both_models_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    print_results(Results.from_dict(_content()))
    cells = _cells(capsys.readouterr().out)
    assert cells["unparsed"] == "3 / 17"
    assert cells["n"] == "90 / 88"
    assert "missing" not in cells


def test_missing_answers_are_shown_where_there_are_any(capsys: pytest.CaptureFixture[str]) -> None:
    print_results(Results.from_dict(_content(missing=4)))
    assert _cells(capsys.readouterr().out)["missing"] == "4"


def test_a_base_alone_has_one_number(capsys: pytest.CaptureFixture[str]) -> None:
    content = _content()
    print_results(Results.from_dict({"results": content["results"][:1], "differences": []}))
    cells = _cells(capsys.readouterr().out)
    assert (cells["n"], cells["unparsed"]) == ("90", "3")


def test_compare_warns_on_stderr_of_other_limits(tmp_path: Path) -> None:
    runs = []
    for limit in ("4", "6"):
        runs.append(str(tmp_path / limit))
        done = CliRunner().invoke(
            program, ["evaluate", "--benchmark", "chair", "--limit", limit, "--output", runs[-1], "--json"]
        )
        assert done.exit_code == 0, done.output
    told = CliRunner().invoke(program, ["compare", *runs, "--json"])
    assert "Warning: chair: the number of samples differs" in told.stderr
    assert json.loads(told.stdout)["warnings"]


def test_the_verdict_comes_first_and_on_a_page(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    arguments = ["evaluate", "--limit", "6", "--output", str(tmp_path / "run"), "--html", str(page)]
    done = CliRunner().invoke(program, arguments)
    assert done.exit_code == 0, done.output
    shown = [line.split() for line in done.stdout.splitlines()]
    assert shown[0] == ["results"]
    assert [line[:2] for line in shown[2:4]] == [["chair", "chair_i"], ["pope", "accuracy"]]
    assert done.stdout.splitlines()[-1] == f"page: {page}"
    text = page.read_text()
    assert "<h1>Evaluation of pkg:mmpref.testbed/model</h1>" in text
    assert text.index("<td>chair chair_i ↓</td>") < text.index("<summary>Values:")
    assert not re.search(r"(?:src|href)=\"(?!data:)", text)


def test_results_are_saved_as_evaluate_does(tmp_path: Path) -> None:
    arguments = [
        "evaluate",
        "--benchmark",
        "pope",
        "--limit",
        "6",
        "--output",
        str(tmp_path / "run"),
        "--save",
        str(tmp_path / "saved"),
    ]
    done = CliRunner().invoke(program, arguments)
    assert done.exit_code == 0, done.output
    [file] = (tmp_path / "saved").iterdir()
    found = json.loads(file.read_text())
    results = json.loads((tmp_path / "run/results.json").read_text())["results"]
    for row in results:
        name = row["metric"] if row["split"] == "all" else f"{row['metric']}/{row['split']}"
        assert found[name] == row["value"]
    assert file.name == "base-pope.json"
    assert {"_timestamp", "_evaluate_version", "_git_commit_hash", "_python_version"} <= found.keys()
    assert found["model"] == "pkg:mmpref.testbed/model"


@pytest.mark.parametrize("has_git", [True, False])
def test_results_are_saved_outside_of_a_git_repository_in_silence(
    has_git: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    if not has_git:
        monkeypatch.setenv("PATH", str(tmp_path))
    files = save(Results.from_dict(evaluation()), tmp_path / "saved")
    assert capfd.readouterr().err == ""
    assert [json.loads(file.read_text())["_git_commit_hash"] for file in files] == [None, None]


def test_results_are_saved_by_a_version_of_evaluate_that_asks_git_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from evaluate import saving

    def write(file: Path, **content: Any) -> Path:
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(content))
        return file

    write.__module__ = saving.__name__
    monkeypatch.setattr("evaluate.save", write)
    monkeypatch.delattr(saving, "_git_commit_hash")
    files = save(Results.from_dict(evaluation()), tmp_path / "saved")
    assert {json.loads(file.read_text())["model"] for file in files} == {"llava-hf/llava-v1.6-vicuna-7b-hf"}
    assert not hasattr(saving, "_git_commit_hash")


def test_an_adapter_that_barely_moved_is_told(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForImageTextToText

    base = AutoModelForImageTextToText.from_pretrained(resolve_path("pkg:mmpref.testbed/model"))
    model = get_peft_model(base, LoraConfig(r=2, target_modules=r"model\.language_model\..*\.q_proj"))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.fill_(1e-7)
    model.save_pretrained(str(tmp_path / "adapter"))
    run = str(tmp_path / "run")
    arguments = ["evaluate", "--adapter", str(tmp_path / "adapter"), "--limit", "4", "--output", run]
    done = CliRunner().invoke(program, arguments)
    assert done.exit_code == 0, done.output
    told = "The adapter barely moved: its answers are the base's to the letter (100 % on pope, 100 % on chair)."
    assert f"Note: {told}" in done.stdout
    compared = CliRunner().invoke(program, ["compare", run, "--html", str(tmp_path / "page.html")])
    assert told in compared.stdout
    assert f'class="warning">run: adapter: {told[:20]}' in (tmp_path / "page.html").read_text()
    manifest = json.loads((tmp_path / "run/run.json").read_text())
    assert manifest["equal_answers"] == {"pope": 1.0, "chair": 1.0}


def test_what_was_warned_of_before_the_work_is_not_said_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a.png").write_bytes(png("red"))
    rows = write_rows(tmp_path / "shown.jsonl", [{"image": "a.png", "objects": ["cup"]}])
    settings = (f"data={rows}", "synonyms=null", "max_new_tokens=4")
    options = [word for setting in settings for word in ("--set", f"benchmark.chair.{setting}")]
    arguments = ["evaluate", "--benchmark", "chair", *options, "--output", str(tmp_path / "run")]
    for _ in ("at work", "finished before"):
        caplog.clear()
        done = CliRunner().invoke(program, arguments)
        assert done.exit_code == 0, done.output
        assert [text.count("chair has no table of synonyms") for text in (caplog.text, done.stdout)] == [1, 0]
    with each_once():
        for _ in ("checked", "at work"):
            warn("Once.")
    assert caplog.messages.count("Warning: Once.") == 1


def test_what_nobody_was_warned_of_is_a_note(capsys: pytest.CaptureFixture[str]) -> None:
    print_results(Results.from_dict(_content()), {"remarks": ["Once."]})
    with each_once():
        warn("Once.")
        print_results(Results.from_dict(_content()), {"remarks": ["Once."]})
    assert capsys.readouterr().out.count("Note: Once.") == 1
