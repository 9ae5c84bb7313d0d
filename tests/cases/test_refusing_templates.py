"""A chat template that refuses rows, as Gemma's and Mistral's do: each is left out by itself, by every command, before
the model is asked or trained."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from mmpref.align.preference_data import checks_of, collect_pairs
from mmpref.tables.open import open_table
from mmpref.types import ModelRef
from mmpref.vlm.load import load_policy

from .commands import HERE, SMALL, done, refused
from .variants import copy

SYSTEM, ANSWER, IMAGES = "System role not supported", "No answer of glass", "Only one image is supported"
REFUSALS = f"""\
{{%- for message in messages -%}}
{{%- set parts = [] if message.content is string else message.content -%}}
{{%- if message.role == 'system' -%}}{{{{- raise_exception('{SYSTEM}') -}}}}{{%- endif -%}}
{{%- if parts | selectattr('type', 'equalto', 'image') | list | length > 1 -%}}
{{{{- raise_exception('{IMAGES}') -}}}}
{{%- endif -%}}
{{%- for part in parts if message.role == 'assistant' and 'glass' in part.text -%}}
{{{{- raise_exception('{ANSWER}') -}}}}
{{%- endfor -%}}
{{%- endfor -%}}
"""
REASON = "chat-template"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The testbed's, with a template that takes no system text, no second image and no answer of glass."""
    path = copy(tmp_path_factory.mktemp("refusing") / "model")
    template = path / "chat_template.jinja"
    template.write_text(REFUSALS + template.read_text())
    return path


def row(number: int, images: int = 1, system: str = "", **answers: str) -> dict[str, Any]:
    turns = [{"role": "system", "content": system}] if system else []
    return {
        "id": f"row{number}",
        "images": [str(HERE / f"rows/img/s{image}.png") for image in range(images)],
        "prompt": [*turns, {"role": "user", "content": f"What is number {number}?"}],
        **{"chosen": "A cup is there.", "rejected": "A ball is there."},
        **answers,
    }


def written(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(one) + "\n" for one in rows))
    return path


@pytest.fixture(scope="module")
def silent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The testbed's, with a template that leaves out what was thought."""
    path = copy(tmp_path_factory.mktemp("silent") / "model")
    template = path / "chat_template.jinja"
    template.write_text(template.read_text().replace("{{- text + eos", "{{- text.split('</think>')[-1] + eos"))
    return path


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    return written(
        tmp_path / "rows.jsonl",
        [
            row(0),
            row(1, system="Be brief."),
            row(2, images=2),
            row(3, chosen="A glass is there."),
            row(4, rejected="A glass is there."),
            row(5),
        ],
    )


def training(model: Path, rows: Path, output: Path, method: str = "dpo") -> tuple[object, ...]:
    roots = ("--image-root", HERE / "rows/img")
    return ("train", "--model", model, "--method", method, "--dataset", rows, *roots, *SMALL, "--output", output)


def test_training_leaves_them_out_with_row_column_and_the_templates_words(
    model: Path, rows: Path, tmp_path: Path
) -> None:
    found = done(*training(model, rows, tmp_path / "run"))
    assert found["counts"]["skipped"] == {REASON: 4}
    facts = json.loads((tmp_path / "run/run.json").read_text())
    shown = [f"{one['row'].rpartition(', ')[2]}: {one['detail']}" for one in facts["skipped_rows"][REASON]]
    assert shown == [
        f"row 1 (counted from 0): prompt: the model's chat template refuses it: {SYSTEM}",
        f"row 2 (counted from 0): prompt: the model's chat template refuses it: {IMAGES}",
        f"row 3 (counted from 0): chosen: the model's chat template refuses it: {ANSWER}",
        f"row 4 (counted from 0): rejected: the model's chat template refuses it: {ANSWER}",
    ]


def test_so_are_answers_that_a_template_leaves_words_out_of(silent: Path, tmp_path: Path) -> None:
    thought = "<think>So it is.</think>A cup is there."
    rows = written(tmp_path / "rows.jsonl", [row(0), row(1, chosen=thought), row(2, rejected=thought), row(3)])
    done(*training(silent, rows, tmp_path / "run"))
    facts = json.loads((tmp_path / "run/run.json").read_text())
    assert [one["row"].rpartition(", ")[2] for one in facts["skipped_rows"][REASON]] == [
        "row 1 (counted from 0)",
        "row 2 (counted from 0)",
    ]
    words = f"The chat template of this model changes the answer that begins with {thought!r}"
    assert facts["skipped_rows"][REASON][0]["detail"] == f"chosen: {words}"
    found = done(*building(silent, rows, tmp_path / "pairs"))
    assert found["counts"]["skipped"][REASON] == 1


@pytest.mark.parametrize("method", ["sft", "reward-model"])
def test_so_does_every_kind_of_training(method: str, model: Path, rows: Path, tmp_path: Path) -> None:
    found = done(*training(model, rows, tmp_path / "run", method))
    assert found["counts"]["skipped"] == {REASON: 4}


def test_so_do_methods_that_write_their_answers(model: Path, rows: Path, tmp_path: Path) -> None:
    policy = load_policy(ModelRef(str(model)))
    roots = {"image_root": [str(HERE / "rows/img")], "needs": ()}
    pairs = collect_pairs([open_table(str(rows))], tmp_path, **checks_of(policy), **roots)
    assert pairs.skipped == {REASON: 4}


def test_where_every_row_is_refused_nothing_is_written(model: Path, tmp_path: Path) -> None:
    rows = written(tmp_path / "rows.jsonl", [row(number, system="Be brief.") for number in range(3)])
    said = refused(*training(model, rows, tmp_path / "run"))
    assert f"({REASON}: 3). First: {rows}" in said
    assert f"row 0 (counted from 0): prompt: the model's chat template refuses it: {SYSTEM}" in said
    assert not list((tmp_path / "run").rglob("run.json"))
    said = refused(*building(model, rows, tmp_path / "pairs"))
    assert f"{REASON}: 3" in said
    assert SYSTEM in said
    assert not list((tmp_path / "pairs").rglob("run.json"))


def building(model: Path, rows: Path, output: Path) -> tuple[object, ...]:
    small = (
        "--set",
        "builder.similarity_model=pkg:mmpref.testbed/embedder",
        "--set",
        "builder.max_answer_tokens=8",
        "--set",
        "builder.keep_cut_off=true",
    )
    roots = ("--image-root", HERE / "rows/img")
    return (
        *("build-dataset", "--model", model, "--method", "seva", "--source", rows),
        *(*roots, *small, "--output", output),
    )


def test_a_build_counts_them_by_the_same_reason(model: Path, rows: Path, tmp_path: Path) -> None:
    found = done(*building(model, rows, tmp_path / "run"))
    assert found["counts"]["skipped"][REASON] == 3
    assert "failed" not in found["counts"]["skipped"]
    report = json.loads((tmp_path / "run/report.json").read_text())
    assert report["skipped"][REASON]["first"][0] == {
        "id": "row1",
        "detail": f"prompt: the model's chat template refuses it: {SYSTEM}",
    }


def test_inspect_names_them_and_scores_the_others(model: Path, rows: Path) -> None:
    found = done("inspect", rows, "--model", model, "--image-root", HERE / "rows/img")
    problem = found["problems"][REASON]
    assert problem["count"] == 4
    assert problem["first"][0] == {
        "row": 1,
        "column": "prompt",
        "detail": f"the model's chat template refuses it: {SYSTEM}",
        "images": [str(HERE / "rows/img/s0.png")],
    }
    assert found["under_model"]["rows"] == found["usable"] == 2


def asking(model: object, benchmark: str, rows: Path, output: Path) -> tuple[object, ...]:
    return (
        *("evaluate", "--recipe", "plain", "--model", model, "--benchmark", benchmark, "--output", output),
        *("--set", f"benchmark.{benchmark}.data={rows}", "--image-root", HERE / "rows/img"),
    )


def test_a_benchmark_loses_such_questions_and_no_others(model: Path, rows: Path, tmp_path: Path) -> None:
    found = done(*asking(model, "annotator", rows, tmp_path / "run"))
    assert found["missing"]["annotator"]["base"] == 2  # the row of two images, in both orders


def test_a_reward_model_values_no_pair_with_such_turns(model: Path, rows: Path, tmp_path: Path) -> None:
    done(*training(model, rows, tmp_path / "reward", "reward-model"))
    adapter = ("--adapter", tmp_path / "reward")
    found = done(*asking(model, "reward-model", rows, tmp_path / "run"), *adapter)
    assert set(found["missing"]["reward-model"].values()) == {4}
