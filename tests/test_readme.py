"""What README.md and docs/ say of the code is so."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click import Context
from click.testing import CliRunner
from PIL import Image

from mmpref.align.method import METHODS
from mmpref.bench.hallucination_sources import TESTED
from mmpref.cli.main import program
from mmpref.cli.pages.study import markdown
from mmpref.data.builder import BUILDERS
from mmpref.errors import InputError
from mmpref.registry import Registry, resolve_path
from mmpref.study.conclude import conclude
from mmpref.study.measurement import Ledger
from mmpref.study.plan import load
from mmpref.tables.open import open_table
from tests.study.ledgers import measured

ROOT = Path(__file__).parents[1]
FILES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
README = FILES[0].read_text(encoding="utf-8")
TEXT = "\n".join(file.read_text(encoding="utf-8") for file in FILES)


def tables() -> ModuleType:
    return script("readme_tables")


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / f"scripts/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_readme_stays_short() -> None:
    assert len(README.splitlines()) <= 230


def test_the_recipe_of_the_readme_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With models and files that are there, nothing is wrong with it, and its rows are what it says."""
    (text,) = (block for block in re.findall(r"```yaml\n(.*?)```", README, re.S) if block.startswith("build-dataset:"))
    assert len(text.splitlines()) <= 15
    monkeypatch.chdir(tmp_path)
    model = re.search(r"model: &model (\S+)", text)
    assert model is not None
    mine = text.replace(model[1], "pkg:mmpref.testbed/model")
    mine = mine.replace("builder: {", "builder: {similarity_model: pkg:mmpref.testbed/embedder, ")
    Path("my.yaml").write_text(mine, encoding="utf-8")
    Path("photos").mkdir()
    rows = list(islice(open_table("testbed-chair", "test"), 3))
    for number, row in enumerate(rows):
        Path(f"photos/{number}.png").write_bytes(row["image"]["bytes"])
    Path("mine.csv").write_text("image,question,answer\n0.png,What is this?,A picture.\n", encoding="utf-8")
    shown = [{"image": f"{number}.png", "gt_object": row["gt_object"]} for number, row in enumerate(rows)]
    Path("shown.jsonl").write_text("".join(json.dumps(row) + "\n" for row in shown), encoding="utf-8")
    shutil.copy(resolve_path("pkg:mmpref.testbed/synonyms.txt"), "words.txt")
    result = CliRunner().invoke(program, ["reproduce", "my.yaml", "--dry-run"], catch_exceptions=False)
    assert result.exit_code == 0
    assert [line.split()[1] for line in result.stdout.splitlines()] == ["build-dataset", "train", "evaluate"]
    Path("words.txt").unlink()
    with pytest.raises(InputError, match=r"my.yaml, evaluate: .*synonyms is 'words.txt'"):
        CliRunner().invoke(program, ["reproduce", "my.yaml", "--dry-run"], catch_exceptions=False)
    assert not Path("runs").exists()


def test_the_study_of_the_readme_is_one(tmp_path: Path) -> None:
    """Every command of it parses and every recipe resolves."""
    (text,) = (block for block in re.findall(r"```yaml\n(.*?)```", TEXT, re.S) if "\nrows:" in block)
    (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
    words = ["reproduce", str(tmp_path / "mine.yaml"), "--dry-run", "--output", str(tmp_path / "out")]
    result = CliRunner().invoke(program, words, catch_exceptions=False)
    assert result.exit_code == 0
    assert "5 runs, 0 of them measured; 4 points of grids to do" in result.stdout


def test_every_table_is_what_was_recorded_and_stands_in_its_file() -> None:
    made = tables().blocks()
    for file, contents in made.items():
        for name, content in contents.items():
            block = f"<!-- {name}: begin -->\n{content}\n<!-- {name}: end -->"
            assert block in (ROOT / file).read_text(encoding="utf-8"), f"{file}: {name}"
    known = [name for contents in made.values() for name in contents]
    assert sorted(re.findall(r"<!-- ([\w ]+): begin -->", TEXT)) == sorted(known)


def test_the_table_of_controls_is_of_the_ledger(tmp_path: Path) -> None:
    assert tables().controls(tmp_path / "none") == ""
    ledger, rate = Ledger(tmp_path / "ledger"), {"trainer.learning_rate": 1e-4}
    runs = [measured("base", 0.25, base) for base in range(3)]
    for run in [*runs, *(measured("bdhs", 0.125, base, point=rate) for base in range(3))]:
        ledger.write(run)
    head, _, base, bdhs, mismatched, *_ = tables().controls(ledger.folder).splitlines()
    assert head.startswith("| 3 bases x 1 seed, 60 images; below the base")
    values = r"0\.2\d\d \| (not run \| ){2}0\.\d{3} \| not run \| 0\.\d{3}"
    assert re.fullmatch(rf"\| base \|  \| (0\.\d{{3}}, ){{2}}0\.\d{{3}} \| {values} \|", base)
    assert re.match(r"\| BDHS \| 1e-04 \| (-0\.\d{3}, ){2}-0\.\d{3} \| -0\.1\d\d \[-0\.\d{3}, -0\.\d{3}\] \| ", bdhs)
    assert mismatched == "| control: another row's answer, whatever was asked |  |  |" + " not run |" * 6
    ledger.write(measured("mismatched", 0.25, 0, point=rate))
    head, _, _, bdhs, mismatched, *_ = tables().controls(ledger.folder).splitlines()
    assert head.startswith("| below the base"), "what rows are over stands in each, where it is not the same"
    assert bdhs.startswith("| BDHS (3 bases x 1 seed, 60 images) | ")
    assert mismatched.startswith("| control: another row's answer, whatever was asked (1 base x 1 seed, 60 images) | ")
    assert [line.split(" |")[0] for line in tables().controls(ledger.folder, everywhere=True).splitlines()[2:]] == [
        "| base",
        "| BDHS",
    ]


@pytest.mark.parametrize("name", sorted(path.parent.name for path in ROOT.glob("model_cards/*/ledger")))
def test_a_studys_page_and_picture_are_what_its_ledger_says(name: str) -> None:
    ledger = Ledger(ROOT / "model_cards" / name / "ledger")
    conclusions = conclude(load(name), Ledger.read(ledger.folder), ledger.failures())
    page = (ROOT / "model_cards" / name / "README.md").read_text(encoding="utf-8")
    again = f"python scripts/record_study.py {name} RUN"
    assert page == markdown(conclusions), again
    record = script("record_study")
    with Image.open(ROOT / "model_cards" / name / record.PICTURE) as picture:
        assert picture.text.get(record.DRAWN) == record.drawn(record.first_figure(conclusions)), again


def test_the_gpu_table_is_what_was_recorded_or_says_that_nothing_was(tmp_path: Path) -> None:
    stages = {
        "environment": {"status": "done", "found": {"device": {"device": "A GPU"}}},
        "build": {"status": "done", "found": {"naive": {"pairs_an_hour": 1234.5, "gib": 15.26}, "note": "none"}},
        "dpo": {"status": "cut", "found": {}},
    }
    recorded = tmp_path / "gpu_check.json"
    recorded.write_text(json.dumps({"stages": stages}), encoding="utf-8")
    assert tables().gpu(recorded) == (
        "| A GPU |  | measured |\n| --- | --- | --- |\n| build | naive | 1,234 pairs an hour, 15.26 gib |\n\n"
        "Of the other stages: dpo cut."
    )
    recorded.write_text(json.dumps({"stages": {**stages, "environment": {"status": "cut", "found": {}}}}))
    assert tables().gpu(recorded).startswith("| a device without a name |  | measured |"), "what was found is not lost"


def test_what_a_bench_measured_says_on_which_device() -> None:
    made = tables()
    machine = {"cpu": "A CPU", "threads": 1, "torch": "2.9.0", "transformers": "5.20.0"}
    assert made.where(machine) == "A CPU, 1 thread, torch 2.9.0, transformers 5.20.0."
    assert made.where({**machine, "device": "A GPU"}) == "A GPU, torch 2.9.0, transformers 5.20.0."
    for name in ("bench_bdhs", "bench_dpo", "bench_eval"):
        recorded = json.loads((ROOT / f"scripts/{name}.json").read_text(encoding="utf-8"))
        assert made.where(recorded["machine"]) in TEXT


def test_a_column_of_other_images_says_of_how_many() -> None:
    head = tables().controls().splitlines()[0]
    assert "| POPE accuracy (200 images) |" in head, "rows have 400, of CHAIR"
    assert "| recall |" in head


def test_the_controls_are_those_that_call_themselves_so() -> None:
    [section] = re.findall(r"### Controls\n(.*?)\n## ", TEXT, re.S)
    called = {name for registry in (BUILDERS, METHODS) for name in registry.names() if _is_control(registry, name)}
    assert set(re.findall(r"^\| `([\w-]+)`", section, re.M)) == called


def _is_control(registry: Registry[Any], name: str) -> bool:
    return registry.summary(name).startswith("Control: ")


@pytest.mark.parametrize("file", [*FILES, ROOT / "CONTRIBUTING.md"], ids=lambda file: file.name)
def test_files_and_sections_that_it_names_are_there(file: Path) -> None:
    for path, section in re.findall(r"\]\((?!http)([^)#]*)#?([^)]*)\)", file.read_text(encoding="utf-8")):
        target = file.parent / path if path else file
        assert target.is_file(), path
        assert not section or section in _sections(target), f"{path}#{section}"


def _sections(file: Path) -> list[str]:
    titles = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.M)
    return [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles]


def test_options_that_commands_are_shown_with_are_theirs() -> None:
    """In every shell block of README and docs."""
    blocks = "\n".join(re.findall(r"```bash\n(.*?)```", TEXT, re.S)).replace("\\\n", " ")
    calls = re.findall(r"^mmpref ([\w-]+)(.*)$", blocks, re.M)
    assert len(calls) > 20
    for name, words in calls:
        command = program.get_command(Context(program), name)
        assert command is not None, name
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        for option in re.findall(r"\s(--[\w-]+)", words.partition(" # ")[0]):
            assert option in known, f"mmpref {name} {option}"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_python_and_json_blocks_are_that(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    for block in re.findall(r"```python\n(.*?)```", text, re.S):
        compile(block, file.name, "exec")
    for block in re.findall(r"```json\n(.*?)```", text, re.S):
        for line in block.splitlines():
            json.loads(line)


def test_what_inspect_says_of_13_models_is_what_was_measured() -> None:
    found = json.loads((ROOT / "scripts/check_diagnosis.json").read_text(encoding="utf-8"))
    by_conclusion = {told: [one for one in found if one["conclusion"] == told] for told in ("both", "gist", "text")}
    assert [len(of) for of in by_conclusion.values()] == [9, 1, 3]
    assert all(one["bdhs"] < -0.01 and one["lead"] < -0.004 for one in by_conclusion["both"])
    [gist] = by_conclusion["gist"]
    assert max(one["bdhs"] for one in by_conclusion["both"]) < gist["bdhs"] < -0.005
    assert sum(one["bdhs"] < -0.01 for one in by_conclusion["text"]) == 1
    assert sum(one["bdhs"] > 0.01 for one in by_conclusion["text"]) == 1
    for said in ("13 models", "each of nine", "the gist alone", "one of three", "raised it on one"):
        assert said in TESTED
