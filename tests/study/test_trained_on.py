"""A study whose rows were trained on images that they are asked about says so wherever it has a verdict or a number."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

from click.testing import CliRunner
from PIL import Image

from mmpref.cli.main import program
from mmpref.cli.pages.study import MARKDOWN, markdown, page
from mmpref.run.asked import TRAINED_ON, TRAINED_ON_MEANS
from mmpref.study.conclude import conclude
from mmpref.study.effects import Effects
from mmpref.study.grid import Grid
from mmpref.study.measurement import Ledger, Measurement
from mmpref.study.paper_columns import Column
from mmpref.study.paper_table import paper_table
from mmpref.study.summary import summarize, table
from tests.study.conftest import WritePlan
from tests.study.ledgers import claim, measured, plan_of

THINGS = ("cup", "knife", "plate", "lamp")


def test_a_study_of_ones_own_data_says_what_it_was_trained_on(write_plan: WritePlan, tmp_path: Path) -> None:
    pairs, asked, others = [], [], []
    for number, thing in enumerate(THINGS):
        Image.new("RGB", (48, 48), (60 * number, 30, 30)).save(tmp_path / f"{number}.png")
        Image.new("RGB", (48, 48), (30, 60 * number, 30)).save(tmp_path / f"other{number}.png")
        pairs.append({"image": f"{number}.png", "question": "What is there?", "answer": f"There is a {thing}."})
        asked.append({"image": f"{number}.png" if number < 3 else "other3.png", "objects": [thing]})
        others.append({"image": f"other{number}.png", "objects": [thing]})
    for name, rows in (("pairs", pairs), ("asked", asked), ("others", others)):
        (tmp_path / f"{name}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    plan = write_plan(
        data={"pairs": {"method": "mismatched", "source": str(tmp_path / "pairs.jsonl"), "limit": 4}},
        evaluate={
            name: {"benchmarks": ["chair"], "benchmark": {"chair": {"data": str(tmp_path / f"{name}.jsonl")}}}
            for name in ("asked", "others")
        },
        rows={"base": {}, "tuned": {"data": "pairs", "train": "dpo", "grid": "none"}},
        claims=[claim("1", {"row": "tuned", "split": "asked", "direction": "lower"})],
        grid=None,
        kl=None,
    )
    study = tmp_path / "study"
    result = CliRunner().invoke(program, ["reproduce", str(plan), "--output", str(study)])
    assert result.exit_code == 0, (result.output, result.exception)
    found = {(one.row, one.split): one.trained_on for one in Ledger.read(study / "ledger")}
    assert found.pop(("tuned", "asked")) == {"chair": 3}
    assert set(map(len, found.values())) == {0}
    assert "trained_on" not in (study / "ledger/base/asked-base0-seed0.json").read_text(), "as before"
    assert re.search(r"tuned +asked .*\(trained on\)", result.stdout)
    assert not re.search(r"(base|others) .*\(trained on\)", result.stdout)
    text = (study / MARKDOWN).read_text()
    assert "tuned on asked: 3 of the images of chair are among those that its adapter was trained on" in text
    assert TRAINED_ON in text.partition("## Verdicts")[2]


def _seen(one: Measurement) -> Measurement:
    return dataclasses.replace(one, trained_on={"chair": 7})


def test_every_verdict_and_number_on_images_of_the_training_is_marked(tmp_path: Path) -> None:
    claims = [
        claim("1", {"row": "seen", "direction": "lower"}),
        claim("2", {"row": "clean", "direction": "lower"}),
        claim("3", {"row": "clean", "against": "seen", "direction": "lower"}),
        claim("4", {"row": "seen", "metric": "pope accuracy", "direction": "equal", "margin": 0.5}),
    ]
    plan = plan_of(tmp_path, ["seen", "clean"], claims)
    grid = Grid({"lr": [0.001]}, "chair chair_i")
    plan = dataclasses.replace(
        plan,
        rows={**plan.rows, "seen": dataclasses.replace(plan.rows["seen"], grid=grid)},
        columns={"CHAIR": Column("chair chair_i")},
    )
    rates = {"base": 0.5, "seen": 0.1, "clean": 0.1}
    runs = [measured(row, rate, base) for row, rate in rates.items() for base in range(3)]
    ledger = [_seen(one) if one.row == "seen" and one.base == 1 else one for one in runs]
    ledger += [_seen(measured("seen", 0.1, split="dev", is_grid_point=True, point={"lr": 0.001}))]
    concluded = conclude(plan, ledger)
    assert [one.trained_on for one in concluded.claims] == [True, False, True, False]
    [lines] = [of.lines for of in concluded.tables]
    index = next(number for number, key in enumerate(concluded.tables[0].keys) if key.name == "chair chair_i")
    for line in lines:
        value, change = line.values[index], line.changes[index]
        assert value is not None
        assert value.text().endswith(TRAINED_ON) is value.trained_on is (line.row == "seen")
        assert change is None or change.better is (None if line.row == "seen" else True), "no good news"
    text, html = markdown(concluded), page(concluded)
    assert text.count(f"holds here {TRAINED_ON}") == html.count(f"holds here {TRAINED_ON}") == 1
    assert '<span class="badge open">holds here (trained on)' in html
    for shown in (text, html):
        assert "seen on test: 7 of the images of chair are among those that its adapter was trained on" in shown
        assert TRAINED_ON_MEANS.replace("'", "&#39;") in shown or TRAINED_ON_MEANS in shown
    [row] = [row for row in text.splitlines() if row.startswith("| seen | 3 bases")]
    assert row.count(TRAINED_ON) == sum(key.benchmark == "chair" for key in concluded.tables[0].keys)
    assert any(row.startswith("| seen | ") and "bases" not in row and TRAINED_ON in row for row in text.splitlines())
    columns, cells = table(summarize(plan, ledger))
    marked = {(line[0], name) for line in cells for name, cell in zip(columns, line, strict=True) if TRAINED_ON in cell}
    assert marked == {("seen", "chair chair_i")}
    paper = paper_table(Effects(plan, ledger))
    assert [TRAINED_ON in line[2] for line in paper.lines] == [False, False, False, True, False, False]
    clean = conclude(plan, runs)
    assert TRAINED_ON not in markdown(clean) + page(clean)
