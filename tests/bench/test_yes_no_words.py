"""Yes and no in the words of one's own data: labels, answers, and what the official rules make of them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from mmpref.bench.benchmark import BENCHMARKS
from mmpref.bench.benchmarks.amber import AmberSettings
from mmpref.bench.benchmarks.dash_b import parse as parse_dash
from mmpref.bench.benchmarks.naturalbench import says_true
from mmpref.bench.benchmarks.pope import PopeSettings, PopeTask
from mmpref.bench.evaluate import evaluate
from mmpref.bench.official import asked_of
from mmpref.bench.plan import load_plan
from mmpref.bench.recipe import EvaluateRecipe
from mmpref.bench.scoring import amber, mme, pope, yes_no
from mmpref.bench.yes_no_words import YesNoSettings
from mmpref.errors import InputError, UsageError
from mmpref.hub.cards.results_table import lines_of, results_block
from mmpref.recipes.yaml_text import YamlLoader
from mmpref.run.results import ALL, Results
from tests.bench.conftest import png, write_rows
from tests.judges.server import ChatServer

OWN = "own.jsonl"


def _task(yes: Any, no: Any) -> PopeTask:
    return PopeTask(PopeSettings(data=OWN, yes_words=yes, no_words=no))


GERMAN = _task("ja", ("nein", "kein"))
CHINESE = _task(("是", "是的"), ("不是", "没有"))


@pytest.mark.parametrize(
    ("task", "answer", "said"),
    [
        (GERMAN, "Ja.", "yes"),
        (GERMAN, "ja, da ist ein Hund", "yes"),
        (GERMAN, "Nein, da ist keiner.", "no"),
        (GERMAN, "NEIN", "no"),
        (GERMAN, "Im Januar", "unreadable"),
        (GERMAN, "yes", "unreadable"),
        (_task("sim", "não"), "Sim, no jardim.", "yes"),
        (_task("sim", "não"), "Na\u0303o.", "no"),
        (_task("sí", "no"), "No, no hay ninguno.", "no"),
        (_task("はい", "いいえ"), "いいえ、犬はいません。", "no"),
        (CHINESE, "是的，图中有一只狗。", "yes"),
        (CHINESE, "不是。", "no"),
        (CHINESE, "图中没有狗。", "no"),
        (_task("हाँ", "नहीं"), "नहीं, कुत्ता नहीं है।", "no"),
        (_task("हाँ", "नहीं"), "हाँ।", "yes"),
        (_task("نعم", "لا"), "لا، لا يوجد كلب", "no"),
        (_task("да", "нет"), "Нет.", "no"),
    ],
)
def test_answers_are_read_by_the_own_words_alone(task: PopeTask, answer: str, said: str) -> None:
    read = task.in_english(answer)
    assert ("unreadable" if pope.unreadable(read) else pope.parse(read)) == said


def test_every_official_rule_reads_them() -> None:
    yes, no, late = (GERMAN.in_english(answer) for answer in ("Ja", "nein", "Nun ja"))
    assert [yes_no.parse(one) for one in (yes, no, late)] == ["yes", "no", "yes"]
    assert [mme.parse(one) for one in (yes, no, late)] == ["yes", "no", "other"], "MME reads four characters"
    assert [parse_dash(one) for one in (yes, no, late)] == ["yes", "no", "yes"]
    assert [amber.parse(one) for one in (yes, no, late)] == ["yes", "other", "other"], "AMBER reads Yes and No"
    assert [says_true(one, "yes_no") for one in (yes, no, late)] == [True, False, True]
    assert [amber.parse(CHINESE.in_english(one)) for one in ("是", "不是")] == ["yes", "no"]


def test_without_own_words_an_answer_stays_as_it_is() -> None:
    task = PopeTask(PopeSettings(data=OWN))
    assert task.in_english("Na\u0303o。 NO") == "Na\u0303o。 NO"


def test_a_bare_no_of_yaml_is_the_word() -> None:
    import yaml

    plain = yaml.load("{yes_words: sí, no_words: [no, nunca]}", YamlLoader)
    assert plain["no_words"] == [False, "nunca"]
    settings = load_settings("pope", {"data": OWN, **plain})
    assert (settings.yes_words, settings.no_words) == ("sí", ("no", "nunca"))
    assert load_settings("pope", {"data": OWN, "no_words": False}).no_words == "no"


def load_settings(name: str, plain: dict[str, Any]) -> YesNoSettings:
    from mmpref.recipes import schema

    built: YesNoSettings = schema.build(BENCHMARKS.get(name).settings, plain)
    return built


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"yes_words": "ja", "no_words": "nein"}, r"for your own data.*benchmark\.pope\.data=FILE"),
        ({"data": OWN, "yes_words": "ja"}, r"no word for no.*benchmark\.pope\.no_words=WORD"),
        ({"data": OWN, "yes_words": "ja", "no_words": ()}, "no word for no"),
        ({"data": OWN, "yes_words": " ", "no_words": "nein"}, "no word for yes"),
        ({"data": OWN, "yes_words": ("da", "Ja"), "no_words": "ja"}, "'ja' is in yes_words and in no_words"),
    ],
)
def test_words_that_cannot_be_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as error:
        PopeTask(PopeSettings(**settings))
    assert re.search(message, str(error.value))


BENCHMARKS_OF_YES_AND_NO = {
    "pope": {"question": "Hund?", "answer": "Ja"},
    "mme": {"question": "Hund?", "answer": "Ja", "category": "existence", "question_id": "a"},
    "dash-b": {"question": "Hund?", "answer": "Ja", "object": "Hund"},
    "hallusionbench": {
        "category": "VD",
        "subcategory": "illusion",
        "visual_input": "1",
        "set_id": "0",
        "figure_id": "0",
        "question_id": "0",
        "question": "Hund?",
        "gt_answer": "Ja",
    },
    "amber": {"id": 1, "query": "Hund?", "type": "discriminative-hallucination", "truth": "Ja"},
}


@pytest.mark.parametrize("name", BENCHMARKS_OF_YES_AND_NO)
def test_labels_are_read_by_them_too_and_else_the_refusal_names_them(name: str, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png("red"))
    (tmp_path / "words.json").write_text("{}")
    data = {"data": str(write_rows(tmp_path / OWN, [{"image": "a.png", **BENCHMARKS_OF_YES_AND_NO[name]}]))}
    if name == "amber":
        data["relation"] = str(tmp_path / "words.json")
    with pytest.raises(InputError, match="'ja', none of yes, no") as error:
        load_plan(name, name, data, None)
    assert f"--set benchmark.{name}.yes_words=WORD --set benchmark.{name}.no_words=WORD" in error.value.hint
    plan = load_plan(name, name, {**data, "yes_words": ["ja"], "no_words": ["nein"]}, None)
    [sample] = plan.samples
    assert "yes" in (sample.reference.get("answer"), sample.reference.get("truth"))
    assert plan.task.score(sample, "Ja").parsed == "yes"
    changed = asked_of(plan, "").changed or {}
    assert (changed["yes_words"], changed["no_words"]) == (["ja"], ["nein"])


def test_settings_without_them_have_the_plain_form_of_before() -> None:
    from mmpref.recipes import schema

    for settings in (PopeSettings(), AmberSettings()):
        assert not schema.as_plain(settings).keys() & {"yes_words", "no_words"}


def test_an_evaluation_in_another_language(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png("red"))
    rows = [
        {"image": "a.png", "question": f"Ist da Ding {number}?", "answer": ("ja", "nein")[number % 2]}
        for number in range(4)
    ]
    data = {"data": str(write_rows(tmp_path / OWN, rows)), "yes_words": "ja", "no_words": "nein"}
    with ChatServer(lambda body, _: "Nein, das ist dort nicht.") as server:
        evaluate(EvaluateRecipe(f"{server.url}#m", ("pope",), benchmark={"pope": data}), tmp_path / "run")
    results = Results.read(tmp_path / "run")
    [accuracy] = [value for value in results.values if value.headline]
    assert (accuracy.value, accuracy.parse_failures, accuracy.part) == (0.5, 0, ALL)
    recorded = json.loads((tmp_path / "run/results.json").read_text())["asked"]["pope"]
    assert recorded["changed"]["no_words"] == "nein"
    assert not recorded["official"]
    _, _, shown = results_block(lines_of(results)).partition("## Results")
    assert re.search("yes.*words: .*ja.*, no.*words: .*nein", shown)


@pytest.mark.parametrize(
    ("labels", "told"), [(["yes"] * 12, True), (["yes"] * 11 + ["no"], False), (["no"] * 9, False)]
)
def test_labels_that_are_all_the_same_are_told(tmp_path: Path, labels: list[str], told: bool) -> None:
    (tmp_path / "a.png").write_bytes(png("red"))
    rows = [
        {"image": "a.png", "question": f"Is there a thing of number {number}?", "answer": label}
        for number, label in enumerate(labels)
    ]
    plan = load_plan("pope", "pope", {"data": str(write_rows(tmp_path / "rows.jsonl", rows))}, None)
    remarks = " ".join(plan.remarks)
    assert ("All 12 labels of pope are 'yes': whoever always says so is always right" in remarks) == told
    assert ("labels of pope" in remarks) == told
    cut = " ".join(load_plan("pope", "pope", {"data": str(tmp_path / "rows.jsonl")}, 10).remarks)
    assert ("All 10 labels of pope are 'yes' as far as rows were asked: whoever" in cut) == ("no" not in labels[:10])
