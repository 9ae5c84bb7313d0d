"""The page of a study, and its Markdown: every verdict is there, nothing of the data builds markup, bytes repeat."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from mmpref import evaluate
from mmpref.cli.main import program
from mmpref.cli.pages.study import HTML, MARKDOWN, markdown, page, write_study
from mmpref.cli.pages.study_figures import families, frontiers
from mmpref.cli.pages.study_scenes import Scene, marked_objects, scenes
from mmpref.registry import resolve_path
from mmpref.run.manifest import MANIFEST
from mmpref.run.results import ALL, Key
from mmpref.study.conclude import Conclusions, conclude
from mmpref.study.grid import Grid
from mmpref.study.measurement import Failure, Ledger, Measurement
from mmpref.study.paper_columns import Column
from mmpref.study.plan import load
from mmpref.study.plan_types import Plan
from mmpref.study.schedule import Schedule
from mmpref.study.targets import Target
from mmpref.synonyms import Synonyms
from tests.markup import Markup
from tests.study.ledgers import claim, measured, plan_of

HOSTILE = '$\\no$ <script>alert("x")</script> | `x` **y** [z](http://evil.example)'
CLAIMS = [
    claim("1", {"row": "bdhs", "direction": "lower"}, paper="table 6"),
    claim("2", {"row": "bdhs", "direction": "higher"}, where="test scenes"),
    claim("3", {"row": "sft", "direction": "equal", "margin": 0.001}),
    claim("4", {"row": "never", "direction": "lower"}),
]


_END = {"steps": 98.0, "chosen_logp": -7.25, "loss": 0.5}


def _ledger(bases: int = 3) -> list[Measurement]:
    rows = {"base": 0.2, "bdhs": 0.1, "sft": 0.2, HOSTILE: 0.15}
    kls = {"base": None, "bdhs": 0.02, "sft": 0.001, HOSTILE: 0.05}
    runs = [
        measured(
            row,
            rate,
            base,
            noise=7 * (row == "sft"),
            kl=kls[row],
            data={"pairs": 100.0, "odd_one": 0.5},
            training=_END if kls[row] else {},
        )
        for row, rate in rows.items()
        for base in range(bases)
    ]
    grid = [
        measured("bdhs", 0.3 - 0.1 * number, split="dev", is_grid_point=True, kl=0.01 * number, point={"lr": rate})
        for number, rate in enumerate((0.001, 0.002))
    ]
    runs = [dataclasses.replace(run, point={"lr": 0.002}) if run.row == "bdhs" else run for run in runs]
    return [*runs, *grid, measured("base", 0.3, split="dev", is_grid_point=True)]


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    plan = plan_of(tmp_path_factory.mktemp("plan"), ["bdhs", "sft", HOSTILE, "never"], CLAIMS)
    grid = Grid({"lr": [0.001, 0.002]}, "chair chair_i", "chair recall")
    return dataclasses.replace(plan, rows={**plan.rows, "bdhs": dataclasses.replace(plan.rows["bdhs"], grid=grid)})


@pytest.fixture(scope="module")
def conclusions(plan: Plan) -> Conclusions:
    return conclude(plan, _ledger(), [Failure("sft", 0, 1, {}, False, f"no room {HOSTILE}")])


def test_conclusions(conclusions: Conclusions) -> None:
    outcomes = [one.verdict.outcome for one in conclusions.claims]
    assert outcomes == ["holds", "does not hold", "cannot be told", "not run"]
    (table,) = conclusions.tables
    assert Key("chair", "chair_i", ALL) in table.keys
    assert Key("pope", "accuracy", "adversarial") in table.keys
    assert [line.row for line in table.lines] == ["base", "bdhs", "sft", HOSTILE]
    assert table.lines[0].changes == (None,) * len(table.keys)
    assert table.lines[1].kl == pytest.approx(0.02)
    (grid,) = conclusions.grids
    assert [point.chosen for point in grid.points] == [False, True]
    assert grid.base is not None
    assert conclusions.facts["bdhs"] == {"pairs": 100, "odd_one": 0.5}
    assert conclusions.training == {
        row: {"steps": 98.0, "loss": 0.5, "chosen_logp": -7.25} for row in ("bdhs", "sft", HOSTILE)
    }
    assert conclusions.runs == (12, 15)


def test_a_run_counts_once_and_when_all_its_evaluations_are_there(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, ["bdhs"], [claim("1", {"row": "bdhs", "direction": "lower"})], bases=2)
    rows = {name: dataclasses.replace(row, evaluate=("test", "usual")) for name, row in plan.rows.items()}
    twice = [measured(row, 0.1, split=split) for row in rows for split in ("test", "usual")]
    conclusions = conclude(dataclasses.replace(plan, rows=rows), [*twice, measured("bdhs", 0.1, 1)])
    assert conclusions.runs == (2, 4)
    assert conclusions.claims[0].left == 1, "the claim looks at test alone, and the second base lacks it"


def test_a_verdict_says_what_is_still_to_come(plan: Plan) -> None:
    early = conclude(plan, _ledger(bases=1))
    assert [one.left for one in early.claims[:1]] == [4], "two bases of the row, two of the base"
    assert "so far (4 runs to come)" in page(early)
    assert "so far (4 runs to come)" in markdown(early)
    for shown in (page(early), markdown(early)):
        assert shown.count("allow for one look and not for many") == 1
    assert all(one.is_final for one in conclude(plan, _ledger()).claims[:3])
    for shown in (page(conclude(plan, _ledger())), markdown(conclude(plan, _ledger()))):
        assert "so far" not in shown


def test_a_verdict_that_the_correction_takes_back_does_not_stand_alone(conclusions: Conclusions) -> None:
    first, *others = conclusions.claims
    assert (first.verdict.outcome, first.verdict.corrected) == ("holds", "holds")
    taken_back = dataclasses.replace(first, verdict=dataclasses.replace(first.verdict, corrected="cannot be told"))
    text = markdown(dataclasses.replace(conclusions, claims=(taken_back, *others)))
    assert text.count("**holds here, uncorrected**") == 1
    assert ", uncorrected" not in markdown(conclusions)


@pytest.fixture(scope="module")
def html(conclusions: Conclusions) -> str:
    return page(conclusions)


def test_the_page_holds_every_verdict_and_row(conclusions: Conclusions, html: str) -> None:
    parsed = Markup(html)
    parsed.assert_runs_nothing()
    for one in conclusions.claims:
        assert one.verdict.claim.says in parsed.text
    for badge in ("holds here", "does not hold", "cannot be told", "not run"):
        assert badge in parsed.text
    effect = conclusions.claims[0].effects[0]
    assert effect is not None
    assert effect.text() in " ".join(parsed.text.split())
    assert "Holm" in parsed.text
    assert "mmpref reproduce plan.yaml" in parsed.text
    assert HOSTILE in parsed.text, "shown, as text"
    assert "log-probability of the chosen answer" in parsed.text
    assert "-7.250" in parsed.text
    assert parsed.text.index("Verdicts") < parsed.text.index("On test")
    assert parsed.elements.count("img") == 5, "three forests and two frontiers"


def test_the_page_needs_no_network(html: str) -> None:
    assert "default-src 'none'" in html
    assert not re.findall(r"""(?:src|href)=["'](?!data:)""", html)


def test_scenes_are_shown_with_their_marks(conclusions: Conclusions) -> None:
    scene = Scene(None, "a cup", (("base", (("A ", False), (HOSTILE, True))), ("adapter", (("A cup.", False),))))
    text = page(conclusions, [scene], "What bdhs changes.")
    assert f"<mark>{HOSTILE}</mark>" not in text
    assert re.search("<mark>[^<]*&lt;script", text)
    assert "What bdhs changes." in text


def test_markdown_holds_every_verdict_and_builds_no_markup(conclusions: Conclusions) -> None:
    text = markdown(conclusions)
    for outcome in ("**holds here**", "**does not hold**", "**cannot be told**", "**not run**"):
        assert outcome in text
    assert "<script" not in text
    assert "<code>mmpref reproduce plan.yaml</code>" in text
    assert "](http" not in text
    assert "not measured" in text
    assert "()" not in text, "of what was not measured there is no number"
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1, table


def test_markdown_holds_what_was_tried_and_how_trainings_ended(conclusions: Conclusions) -> None:
    text = markdown(conclusions)
    base, *points = (grid := conclusions.grids[0]).base, *grid.points
    cells = [f"{point.best:.3f}, {point.keep:.3f}" for point in (base, *points) if point]
    assert "| row | base | lr=0.001 | lr=0.002 |" in text
    assert f"| bdhs | {cells[0]} | {cells[1]} | **{cells[2]}** |" in text, "in bold what was chosen"
    assert "chair chair&#95;i, then chair recall, on dev and base 0." in text
    assert "| sft | 98 | 0.500 | -7.250 |" in text
    outside = dataclasses.replace(conclusions, grids=(dataclasses.replace(grid, outside=True),))
    assert "That is so of bdhs." in markdown(outside)


def test_rows_with_figures_of_the_paper_stand_beside_them(conclusions: Conclusions, plan: Plan) -> None:
    assert "Beside the paper" not in page(conclusions) + markdown(conclusions)
    rows = {**plan.rows, "bdhs": dataclasses.replace(plan.rows["bdhs"], paper={"Recall": 75.58})}
    columns = {"Recall": Column("chair recall", 100), "POPE": Column("pope accuracy", 100)}
    runs = _ledger(bases=1)
    ours = next(one for one in runs if one.row == "bdhs")
    recall, accuracy = (
        f"{100 * value.value:.2f}" for column in columns.values() if (value := ours.value(column.metric))
    )
    beside = conclude(dataclasses.replace(plan, rows=rows, columns=columns), runs)
    text = markdown(beside)
    section = text.partition("## Beside the paper")[2]
    assert f"| bdhs | paper | 75.58 | – |\n|  | ours, 1 base x 1 seed | {recall} | {accuracy} |" in section
    assert "| sft |" not in section, "of it there is no figure"
    assert "Ours is the mean over the bases that are counted there, of each the mean over its seeds." in section
    assert recall in Markup(page(beside)).text.partition("Beside the paper")[2]


def test_the_same_ledger_gives_the_same_bytes(plan: Plan, tmp_path: Path) -> None:
    folders = tmp_path / "a", tmp_path / "b"
    for folder, ledger in zip(folders, (_ledger(), list(reversed(_ledger()))), strict=True):
        write_study(conclude(plan, ledger), folder)
    for name in (HTML, MARKDOWN):
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()


def test_a_study_of_which_nothing_is_measured_has_a_page(plan: Plan, tmp_path: Path) -> None:
    path = write_study(conclude(plan, []), tmp_path)
    assert path.read_text(encoding="utf-8").count("not run") == len(CLAIMS)


def test_one_base_is_said_to_be_one(plan: Plan) -> None:
    text = page(conclude(plan, _ledger(bases=1)))
    assert "of one base" in text


def test_what_is_not_in_the_image_is_marked_and_the_text_is_whole() -> None:
    synonyms = Synonyms({"cup": "cup", "mug": "cup", "traffic light": "traffic light", "fork": "fork"})
    caption = "There is a mug, two forks and a traffic light. A cup."
    pieces = marked_objects(caption, ["cup"], synonyms)
    assert "".join(piece for piece, _ in pieces) == caption
    assert [piece for piece, wrong in pieces if wrong] == ["forks", "traffic light"]


def test_a_study_folder_gets_its_page_from_its_ledger(tmp_path: Path) -> None:
    """Of the runs that the plan still means: one of another recipe is not shown."""
    plan = plan_of(tmp_path, ["bdhs", "sft"], [claim("1", {"row": "bdhs", "direction": "lower"})], bases=1)
    schedule = Schedule(plan, tmp_path, list(plan.rows))
    for row, rate in (("base", 0.2), ("bdhs", 0.1)):
        job = schedule.job(Target(row, 0, 0))
        assert job is not None
        schedule.ledger.write(measured(row, rate, recipe_hash=job.hashes["test"]))
    schedule.ledger.write(measured("sft", 0.1, recipe_hash="of another recipe"))
    ran = CliRunner().invoke(program, ["reproduce", plan.name, "--output", str(tmp_path), "--minutes", "0", "--json"])
    assert ran.exit_code == 0, ran.output
    path = Path(json.loads(ran.stdout)["report"])
    assert path == tmp_path / HTML
    text = path.read_text(encoding="utf-8")
    assert "holds here" in text
    assert "2 of 3 runs are measured" in text
    assert len(Ledger.read(tmp_path / "ledger")) == 3
    assert "**holds here**" in (tmp_path / MARKDOWN).read_text(encoding="utf-8")


def test_scenes_of_two_evaluations(tmp_path: Path) -> None:
    """The testbed's model, and one that sees worse."""
    worse = tmp_path / "model"
    shutil.copytree(resolve_path("pkg:mmpref.testbed/model"), worse)
    weights = load_file(worse / "model.safetensors")
    name = next(name for name in weights if "patch_embedding" in name)
    noise = torch.randn(weights[name].shape, generator=torch.Generator().manual_seed(0))
    save_file({**weights, name: weights[name] + 0.5 * weights[name].std() * noise}, worse / "model.safetensors")
    for label, model in (("worse", str(worse)), ("sees", "pkg:mmpref.testbed/model")):
        evaluate(model=model, recipe="testbed", benchmark="chair", limit=40, output=tmp_path / label, progress=False)
    found = scenes(tmp_path / "worse", tmp_path / "sees", ("worse", "sees"), limit=3)
    assert 2 <= len(found) <= 3, "two that gained, and one that lost if there is one"
    gained = found[0]
    assert gained.image is not None
    assert gained.image.startswith("data:image/png;base64,")
    assert [name for name, _ in gained.answers] == ["worse", "sees"]
    wrong = [sum(bad for _, bad in pieces) for _, pieces in gained.answers]
    assert wrong[0] > wrong[1], "captions that gained come first"
    for label in ("worse", "sees"):  # as of rows whose objects are all that captions are searched for
        manifest = json.loads((tmp_path / label / MANIFEST).read_text())
        manifest["recipe"]["benchmark"]["chair"]["synonyms"] = None
        (tmp_path / label / MANIFEST).write_text(json.dumps(manifest))
    again = scenes(tmp_path / "worse", tmp_path / "sees", ("worse", "sees"), limit=3)
    marked, all_marked = (
        {piece for one in each for _, pieces in one.answers for piece in pieces} for each in (again, found)
    )
    assert {piece for piece, bad in marked if bad} <= {piece for piece, bad in all_marked if bad}
    assert any(bad for _, bad in marked)


def _varied(folder: Path, each: dict[str, list[Any]]) -> tuple[Plan, list[Measurement]]:
    """Of a family that is measured but for its last row."""
    plan = plan_of(folder, ["bdhs"])
    content = yaml.safe_load(plan.path.read_text())
    content["rows"]["seen$"] = {"data": "pairs", "train": "dpo", "each": each}
    plan.path.write_text(yaml.safe_dump(content, sort_keys=False))
    plan = load(str(plan.path))
    return plan, [measured(row, 0.1 + 0.01 * place) for place, row in enumerate(list(plan.rows)[:-1])]


@pytest.mark.parametrize(
    ("each", "panels"),
    [
        ({"limit": [1, 2, 3]}, 1),
        ({"limit": [1, 2, 3], "data.limit": [4, 5]}, 1),
        ({"limit": [1, 2], "data.limit": [4, 5], "data.split": ["a", "b"]}, 2),
    ],
)
def test_rows_that_differ_in_settings_are_drawn_side_by_side(
    tmp_path: Path, each: dict[str, list[Any]], panels: int
) -> None:
    plan, runs = _varied(tmp_path, each)
    conclusions = conclude(plan, runs)
    figures = families(conclusions)
    assert figures[0][0].startswith("seen$: chair chair_i on test by limit")
    axes = figures[0][1].axes
    assert len(axes) == panels
    values = [line.changes[0] for line in conclusions.tables[0].lines if line.row.startswith("seen")]
    drawn = (
        axes[0].lines[0].get_ydata()
        if len(each) == 1
        else [float(text.get_text()) for one in axes for text in one.texts]
    )
    assert sorted(drawn) == [pytest.approx(value, abs=6e-4) for value in sorted(one.value for one in values if one)]
    assert "Rows that differ in a setting" in page(conclusions)
    write_study(conclusions, tmp_path)
    (tmp_path / "rows-9.png").write_bytes(b"of an earlier plan")
    write_study(conclusions, tmp_path)
    shown = re.findall(r"!\[seen&#36;: chair .*\]\((.*)\)", (tmp_path / MARKDOWN).read_text(encoding="utf-8"))
    assert shown == sorted(path.name for path in tmp_path.glob("*.png")) == ["rows-1.png", "rows-2.png"]
    by_part = families(conclude(dataclasses.replace(plan, show=("pope accuracy adversarial",)), runs))
    assert [title.partition(" on ")[0] for title, _ in by_part] == [
        *(title.partition(" on ")[0] for title, _ in figures),
        "seen$: pope accuracy adversarial",
    ]


def test_figures_compare_rows_on_the_bases_that_each_was_run_on(tmp_path: Path) -> None:
    """Two rows that change nothing, one of them run on the worse base alone, are drawn alike."""
    varied, _ = _varied(tmp_path, {"limit": [1, 2]})
    runs = [measured(row, rate, base) for row in ("base", "seen$-1") for base, rate in ((0, 0.1), (1, 0.4))]
    runs = [dataclasses.replace(run, kl=0.1 if run.row != "base" else None) for run in runs]
    conclusions = conclude(varied, [*runs, measured("seen$-2", 0.4, 1, kl=0.2)])
    title, figure = families(conclusions)[0]
    assert title.endswith("(2 bases x 1 seed; 1 base x 1 seed)")
    assert list(figure.axes[0].lines[0].get_ydata()) == [0, 0]
    rows = dict(frontiers(conclusions))["The frontier on test: rows as chosen, less the base"]
    assert {line.get_ydata()[0] for line in rows.axes[0].lines} == {0}
