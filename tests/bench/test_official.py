"""A benchmark's name is for its published data, all of them, asked as published; data that chose are known again."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from mmpref.api.planned import planned_evaluation
from mmpref.bench.benchmark import BENCHMARKS
from mmpref.bench.chosen_on import mark_chosen_on, row_digests
from mmpref.bench.evaluate import evaluate
from mmpref.bench.identity import data_facts
from mmpref.bench.official import asked_of, changed_settings
from mmpref.bench.plan import Plan, load_plan, resolve_settings
from mmpref.bench.recipe import EvaluateRecipe
from mmpref.run.asked import Asked
from mmpref.run.results import Results
from mmpref.tables.table import Table
from mmpref.types import ModelRef

from .conftest import MODEL, MakeAdapter, png, pope_row, write_rows

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Six questions about three images."""
    for name in ("red", "green", "blue"):
        (tmp_path / f"{name}.png").write_bytes(png(name))
    names = [name for name in ("red", "green", "blue") for _ in range(2)]
    rows = [{**pope_row(number, f"{name}.png"), "image_source": name} for number, name in enumerate(names)]
    return write_rows(tmp_path / "mine.jsonl", rows)


def _plan(file: Path, limit: int | None = None, **settings: Any) -> Plan:
    spelled_out = resolve_settings(("pope",), {"pope": {"data": str(file), **settings}}, None)["pope"]
    return load_plan("pope", "pope", spelled_out, limit)


def _published(plan: Plan, spec: str = "lmms-lab/POPE", revision: str | None = COMMIT, split: str = "test") -> Plan:
    """The same questions from the Hub's repository."""
    rows = plan.table.rows
    return dataclasses.replace(plan, table=Table(spec, split, revision, revision or "sha256:1", None, rows))


def test_the_published_benchmark(file: Path) -> None:
    asked = asked_of(_published(_plan(file)), "sha256:2")
    assert (asked.official, asked.title, asked.changed) == (True, "pope", {})
    assert (asked.questions, asked.images, asked.hallucination) == (6, 3, True)
    assert "config" not in asked.data


def test_the_configuration_is_one_of_the_facts_of_the_data(file: Path) -> None:
    plan = _published(_plan(file))
    full = dataclasses.replace(plan, settings=dataclasses.replace(plan.settings, config="full"))
    assert asked_of(full, "sha256:2").data["config"] == "full"


def test_images_that_are_there_are_counted_by_what_they_show(file: Path) -> None:
    """Not what is resampled together: that is a source's word, and there without an image too."""
    (file.parent / "green.png").write_bytes(png("red"))
    assert asked_of(_plan(file), "sha256:2").images == 2
    (file.parent / "blue.png").unlink()
    assert asked_of(_plan(file), "sha256:2").images == 1


@pytest.mark.parametrize(
    ("table", "settings", "limit", "others", "changed"),
    [
        ({"spec": "me/POPE"}, {}, None, {}, {}),
        ({"revision": None}, {}, None, {}, {}),
        ({"split": "validation"}, {}, None, {}, {}),
        ({}, {"suffix": ""}, None, {}, {"suffix": ""}),
        ({}, {"max_new_tokens": 8}, None, {}, {"max_new_tokens": 8}),
        ({}, {}, 4, {}, {"limit": 4}),
        ({}, {}, None, {"judge_prompt": "Judge!"}, {"judge_prompt": "Judge!"}),
    ],
)
def test_what_is_not_the_published_benchmark(
    file: Path,
    table: dict[str, Any],
    settings: dict[str, Any],
    limit: int | None,
    others: dict[str, Any],
    changed: dict[str, Any],
) -> None:
    asked = asked_of(_published(_plan(file, limit, **settings), **table), "sha256:2", limit, **others)
    assert not asked.official
    assert asked.changed == changed
    name = table.get("spec", "POPE" if "revision" in table else "lmms-lab/POPE")
    assert asked.title == f"{name}:{table.get('split', 'test')}, scored like pope"


def test_what_changes_nothing_is_no_change(file: Path) -> None:
    plan = _published(_plan(file, 50, images=str(file.parent)))
    assert asked_of(plan, "sha256:2", 50, judge_prompt=None).official


def test_the_authors_own_table_of_words_is_known_by_its_content(tmp_path: Path) -> None:
    words = tmp_path / "synonyms.txt"
    words.write_text("cat, kitten\n")
    chair = BENCHMARKS.get("chair")
    settings = chair.settings(synonyms=str(words))
    assert changed_settings(chair, settings) == {"synonyms": str(words)}
    official = {"synonyms": hashlib.sha256(words.read_bytes()).hexdigest()}
    assert changed_settings(dataclasses.replace(chair, official_files=official), settings) == {}


@pytest.fixture
def chosen(file: Path, tmp_path: Path) -> Path:
    """A run whose step 20 was chosen on the file's first four questions."""
    plan = _plan(file, 4)
    watched = asked_of(plan, data_facts(plan.table, plan.samples, {})["samples"], 4)
    best = {"step": 20, "metric": "pope/accuracy", "value": 0.9, "base": 0.8}
    (tmp_path / "run").mkdir()
    (tmp_path / "run/run.json").write_text(json.dumps({"best": best, "watched": {"pope": watched.as_dict()}}))
    return tmp_path / "run"


def test_the_data_that_chose_are_known_again(chosen: Path, file: Path, caplog: pytest.LogCaptureFixture) -> None:
    """By their split, however many of its rows are asked; or by the questions, wherever they lie."""
    ref = ModelRef(MODEL, None, str(chosen))
    copy = write_rows(file.parent / "copy.json.jsonl", [json.loads(line) for line in file.read_text().splitlines()[:4]])
    for plan in (_plan(file), _plan(copy)):
        asked = {"pope": asked_of(plan, data_facts(plan.table, plan.samples, {})["samples"])}
        with caplog.at_level(logging.WARNING, "mmpref"):
            marked = mark_chosen_on(asked, {"pope": plan.samples}, ref)
        assert marked["pope"].chose == {"step": 20, "metric": "pope/accuracy"}
        assert "step 20 of the adapter was chosen by pope/accuracy on the same data" in caplog.text
        caplog.clear()


def test_a_file_is_the_same_data_under_whichever_split(chosen: Path, file: Path) -> None:
    """It has none of its own: ``dev`` was asked of it while training, and ``test`` is afterwards."""
    run = json.loads((chosen / "run.json").read_text())
    run["watched"]["pope"]["data"]["split"] = "dev"
    (chosen / "run.json").write_text(json.dumps(run))
    plan = _plan(file)
    asked = {"pope": asked_of(plan, data_facts(plan.table, plan.samples, {})["samples"])}
    assert mark_chosen_on(asked, {"pope": plan.samples}, ModelRef(MODEL, None, str(chosen)))["pope"].chose


@pytest.mark.parametrize("watched", [None, 3, {"data": 1}, {"benchmark": "pope", "label": "pope", "data": 1}])
def test_a_broken_record_of_what_chose_says_nothing(chosen: Path, file: Path, watched: Any) -> None:
    run = {"best": {"metric": "pope/accuracy"}, "watched": {"pope": watched}}
    (chosen / "run.json").write_text(json.dumps(run))
    plan = _plan(file)
    asked = {"pope": asked_of(plan, "sha256:1")}
    assert mark_chosen_on(asked, {"pope": plan.samples}, ModelRef(MODEL, None, str(chosen))) == asked


def test_questions_that_chose_are_known_in_a_part_of_their_file(
    chosen: Path, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """By image and words: not by the file's name, its rows' order, or the names of its images."""
    manifest = json.loads((chosen / "run.json").read_text())
    manifest["watched"]["pope"]["rows"] = row_digests(_plan(file, 4).samples)
    assert len(manifest["watched"]["pope"]["rows"]) == 8 * 2, "two are asked twice"
    (chosen / "run.json").write_text(json.dumps(manifest))
    first = json.loads(file.read_text().splitlines()[0])
    (file.parent / "copy.png").write_bytes((file.parent / first["image"]).read_bytes())
    rows = [{**first, "image": "copy.png"}, {**first, "question": "Is there a cat?"}]
    for count, told in ((1, ""), (2, " (1 of 2 questions)")):
        plan = _plan(write_rows(file.parent / f"part{count}.jsonl", rows[:count]))
        asked = {"pope": asked_of(plan, data_facts(plan.table, plan.samples, {})["samples"])}
        marked = mark_chosen_on(asked, {"pope": plan.samples}, ModelRef(MODEL, None, str(chosen)))
        assert marked["pope"].chose == {"step": 20, "metric": "pope/accuracy", "shared": 1}
        assert f"part{count}.jsonl, scored like pope{told}: its values there are too good" in caplog.text
        assert Asked.from_dict(marked["pope"].as_dict()) == marked["pope"]


def test_other_data_did_not_choose(chosen: Path, file: Path, caplog: pytest.LogCaptureFixture) -> None:
    other = write_rows(file.parent / "other.jsonl", [pope_row(9, "red.png", answer="no")])
    plan = _plan(other)
    asked = {"pope": asked_of(plan, data_facts(plan.table, plan.samples, {})["samples"])}
    assert mark_chosen_on(asked, {"pope": plan.samples}, ModelRef(MODEL, None, str(chosen))) == asked
    (chosen / "run.json").write_text(json.dumps({"best": None, "watched": {}}))
    assert mark_chosen_on(asked, {"pope": plan.samples}, ModelRef(MODEL, None, str(chosen))) == asked
    (chosen / "run.json").unlink()
    assert mark_chosen_on(asked, {"pope": plan.samples}, ModelRef(MODEL, None, str(chosen))) == asked
    assert not caplog.text


def test_an_evaluation_records_what_was_asked(chosen: Path, file: Path, make_adapter: MakeAdapter) -> None:
    make_adapter(chosen)
    settings = {"pope": {"data": str(file), "suffix": "", "max_new_tokens": 4}}
    recipe = EvaluateRecipe(
        MODEL, ("pope",), adapter=str(chosen), benchmark=settings, limit=5, thinking=("<plan> </plan>",)
    )
    manifest = evaluate(recipe, file.parent / "evaluation")
    planned = planned_evaluation(recipe)
    assert planned.recipe_hash == manifest["recipe_hash"]
    assert str(planned.path) == f"runs/evaluate-pope-{manifest['recipe_hash'][:8]}"
    results = Results.read(file.parent / "evaluation")
    asked = results.asked["pope"]
    assert (asked.official, asked.title, asked.questions, asked.images) == (False, "mine.jsonl, scored like pope", 5, 3)
    assert asked.changed == {"suffix": "", "max_new_tokens": 4, "limit": 5, "thinking": ["<plan> </plan>"]}
    assert asked.chose == {"step": 20, "metric": "pope/accuracy"}
    assert asked.data["fingerprint"].startswith("sha256:")
    assert Asked.from_dict(asked.as_dict()) == asked
