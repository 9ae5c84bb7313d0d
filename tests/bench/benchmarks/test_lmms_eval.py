"""Tasks of lmms-eval through our policy: what they ask, and their own scores, are those of lmms-eval's own command.

The tests of its code run where it is installed (``pip install mmpref[capabilities]``), offline, on task files written
here; that it is not installed is told where it is not.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from mmpref.bench import lmms_eval_task
from mmpref.bench.benchmark import BENCHMARKS, CountKey
from mmpref.bench.benchmarks import lmms_eval
from mmpref.bench.benchmarks.lmms_eval import LmmsEvalTask, Settings
from mmpref.bench.compare import compare
from mmpref.bench.evaluate import evaluate
from mmpref.bench.lmms_eval_task import HarnessTask, Question
from mmpref.bench.recipe import EvaluateRecipe
from mmpref.bench.records import read_records
from mmpref.bench.suites import CAPABILITIES
from mmpref.errors import InputError, UsageError
from mmpref.registry import resolve_path
from mmpref.run.results import Results
from mmpref.tables.open import open_table
from mmpref.types import ImageData
from tests.bench.conftest import MODEL

ABSENT = find_spec("lmms_eval") is None
ROWS = 24
TASK = """\
task: {name}
dataset_path: json
dataset_kwargs:
  data_files: {{test: {rows}}}
test_split: test
output_type: generate_until
doc_to_visual: !function utils.to_visual
doc_to_text: !function utils.to_text
doc_to_target: "answer"
generation_kwargs: {{max_new_tokens: 8, temperature: 0, do_sample: false}}
process_results: !function utils.{process}
metric_list:
{metrics}
metadata: {{version: 1.0}}
"""
UTILS = '''\
from PIL import Image


def to_visual(doc):
    return [Image.open(name).convert("RGB") for name in doc["images"]]


def to_text(doc):
    return doc["question"]


def right(doc, results):
    said = results[0].strip().lower().startswith(doc["answer"])
    return {"exact_match": float(said), **({"of_yes": float(said)} if doc["answer"] == "yes" else {})}


def judged(doc, results):
    print("a task that prints")
    return {"f1": {"said": results[0].strip().lower()[:3], "answer": doc["answer"]}}


def f1(items):
    """Of yes: no mean of anything."""
    true = sum(item["said"] == "yes" == item["answer"] for item in items)
    said = sum(item["said"] == "yes" for item in items)
    there = sum(item["answer"] == "yes" for item in items)
    return 2 * true / (said + there)
'''


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two task files over drawn scenes: shares of right answers, and a score that is no mean."""
    folder = tmp_path_factory.mktemp("tasks")
    rows = []
    for number, row in zip(range(ROWS), open_table("testbed-pope", "test"), strict=False):
        file = folder / f"{number // 6}.png"
        file.write_bytes(row["image"]["bytes"])
        rows.append({"question": row["question"], "answer": row["answer"], "images": [str(file)]})
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "utils.py").write_text(UTILS)
    mean = "".join(f"  - {{metric: {name}, aggregation: mean, higher_is_better: true}}\n" for name in MEANS)
    own = "  - {metric: f1, aggregation: !function utils.f1, higher_is_better: true}\n"
    for name, process, metrics in (("tiny_right", "right", mean), ("tiny_f1", "judged", own)):
        text = TASK.format(name=name, rows=folder / "rows.jsonl", process=process, metrics=metrics)
        (folder / f"{name}.yaml").write_text(text)
    return folder


MEANS = ("exact_match", "of_yes")
NAMES = ("lmms-eval:tiny_right", "lmms-eval:tiny_f1")


@pytest.fixture(scope="module")
def run(adapter: Path, tasks: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run") / "run"
    settings = {name: {"include": str(tasks)} for name in NAMES}
    evaluate(EvaluateRecipe(MODEL, NAMES, adapter=str(adapter), benchmark=settings), path)
    return path


@pytest.fixture(scope="module")
def merged(adapter: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The adapter in its base, as lmms-eval's own model class loads it."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForImageTextToText, AutoProcessor

    folder = tmp_path_factory.mktemp("merged")
    base = AutoModelForImageTextToText.from_pretrained(resolve_path(MODEL), dtype=torch.float32)
    PeftModel.from_pretrained(base, str(adapter)).merge_and_unload().save_pretrained(str(folder))
    AutoProcessor.from_pretrained(resolve_path(MODEL)).save_pretrained(str(folder))
    return folder


def _by_its_own_command(model: Path, tasks: Path, output: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What ``python -m lmms_eval`` makes of a model: results by task, and the samples of the first task."""
    command = [
        *(sys.executable, "-m", "lmms_eval", "--model", "llava_hf", "--tasks", "tiny_right,tiny_f1"),
        *("--model_args", f"pretrained={model},device=cpu,device_map=cpu,dtype=float32"),
        *("--include_path", str(tasks), "--output_path", str(output), "--batch_size", "1", "--log_samples"),
    ]
    done = subprocess.run(
        command, env={**os.environ, "HF_HUB_OFFLINE": "1"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Error during evaluation" not in done.stdout + done.stderr, done.stderr[-3000:]
    (results,) = output.rglob("*_results.json")
    (samples,) = output.rglob("*_samples_tiny_right.jsonl")
    lines = [json.loads(line) for line in samples.read_text().splitlines()]
    return json.loads(results.read_text())["results"], sorted(lines, key=lambda line: int(line["doc_id"]))


@pytest.mark.skipif(ABSENT, reason="lmms-eval is not installed")
@pytest.mark.parametrize("model", ["base", "adapter"])
def test_equal_to_its_own_command(model: str, run: Path, merged: Path, tasks: Path, tmp_path: Path) -> None:
    pytest.importorskip("decord")  # which lmms-eval's own class of LLaVA models imports
    path = Path(resolve_path(MODEL)) if model == "base" else merged
    theirs, samples = _by_its_own_command(path, tasks, tmp_path)
    ours = {(key.benchmark, key.metric): value.value for key, value in Results.read(run).by_key(model).items()}
    answers = [record.answer for record in read_records(run, model, "lmms-eval.tiny_right")]
    assert answers == [sample["filtered_resps"] for sample in samples]
    assert ours == {
        **{("lmms-eval.tiny_right", name): theirs["tiny_right"][f"{name},none"] for name in MEANS},
        ("lmms-eval.tiny_f1", "f1"): theirs["tiny_f1"]["f1,none"],
    }
    if model == "base":  # the adapter's weights are random, and so is what it says
        assert 0 < ours["lmms-eval.tiny_right", "exact_match"] < 1


@pytest.mark.skipif(ABSENT, reason="lmms-eval is not installed")
def test_pairs_intervals_and_names_are_ours(run: Path) -> None:
    results = Results.read(run)
    assert set(results.asked) == {"lmms-eval.tiny_right", "lmms-eval.tiny_f1"}
    assert not any(asked.official or asked.hallucination for asked in results.asked.values())
    assert results.asked["lmms-eval.tiny_f1"].title == "tiny_f1:test, scored like lmms-eval.tiny_f1"
    tests = {difference.key.name: difference.test for difference in results.differences}
    assert tests["lmms-eval.tiny_right exact_match"] == "McNemar"
    assert tests["lmms-eval.tiny_f1 f1"] == "bootstrap"
    f1 = next(value for value in results.values if value.metric == "f1")
    assert f1.low < f1.value < f1.high
    assert f1.images == ROWS // 6, "questions of an image are drawn together"
    comparison = compare([run], margins={"*": 0.5})
    assert {row.difference.benchmark for row in comparison.no_worse} == set(results.asked)


@pytest.mark.skipif(ABSENT, reason="lmms-eval is not installed")
def test_resampled_aggregation_is_its_own_on_what_was_drawn(tasks: Path) -> None:
    """By hand: the score of drawn items against the metric as the bootstrap sees it."""
    import numpy as np

    entry = BENCHMARKS.get("lmms-eval:tiny_f1")
    settings = entry.settings(include=str(tasks))
    task, table = entry.task(settings), entry.opens(settings)  # type: ignore[misc]
    assert table is not None
    samples = task.samples(table, None)
    said = ["yes", "no", "yes"] * (ROWS // 3)
    scores = [task.score(sample, answer) for sample, answer in zip(samples, said, strict=True)]
    (metric,) = task.metrics(scores)
    draws = np.random.default_rng(0).integers(0, 3, size=(5, ROWS))
    sums: dict[Any, Any] = {metric.n: draws.sum(1).astype(float)}
    for row, score in enumerate(scores):
        sums |= {key: draws[:, row].astype(float) for key in score.counts if key != metric.n}
    truth = [json.loads(sample.reference["target"]) for sample in samples]
    for draw, value in zip(draws, metric.value(sums), strict=True):
        drawn = [(said[row], truth[row]) for row in range(ROWS) for _ in range(draw[row])]
        right = sum(one == other == "yes" for one, other in drawn)
        assert value == 2 * right / sum((one == "yes") + (other == "yes") for one, other in drawn)


def test_questions_about_several_images_are_asked_with_all_of_them() -> None:
    first, second = ImageData(b"1", "tiny 0"), ImageData(b"2", "tiny 0")
    asked = [
        lmms_eval._sample(Question(number, "Q", images, "A", ()))
        for number, images in enumerate([(first,), (first, second), (second, first), (first, second), ()])
    ]
    assert [sample.images for sample in asked] == [(first,), (first, second), (second, first), (first, second), ()]
    ids = [sample.image_id for sample in asked]
    assert ids[1] == ids[3], "questions of the same images are drawn together"
    assert len(set(ids)) == 4


TOTAL = {"right": 0.0}


class _Aggregating:
    """A task whose metrics are made of whole lists of scores, as some of lmms-eval's are."""

    def __init__(self) -> None:
        self.calls: dict[str, int] = {}

    def aggregation(self) -> dict[str, Any]:
        return {"adds_up": self._adds_up, "percent": self._percent, "largest": self._largest, "file": self._file}

    def _counted(self, name: str) -> None:
        self.calls[name] = self.calls.get(name, 0) + 1

    def _adds_up(self, items: list[Any]) -> float:
        """As OCRBench's: in a dictionary of the module, over a number of questions that is fixed."""
        for item in items:
            TOTAL["right"] += item["right"]
        return TOTAL["right"] / 40

    def _percent(self, items: list[Any]) -> float:
        self._counted("percent")
        return round(100 * sum(item["right"] for item in items) / len(items), 2)

    def _largest(self, items: list[Any]) -> float:
        return float(max(item["right"] * item["number"] for item in items))

    def _file(self, items: list[Any], args: Any) -> None:
        self._counted("file")


@pytest.fixture
def aggregating(monkeypatch: pytest.MonkeyPatch) -> tuple[LmmsEvalTask, _Aggregating]:
    task = _Aggregating()
    monkeypatch.setattr(lmms_eval, "refuse_absent", lambda: None)
    monkeypatch.setattr(lmms_eval, "load_task", lambda *_: HarnessTask("tiny", task))
    monkeypatch.setattr(lmms_eval_task, "_quiet", contextlib.nullcontext)
    return LmmsEvalTask("tiny", Settings()), task


def _draws() -> tuple[list[dict[str, float]], Any]:
    """Scores of 40 questions, and how often each is drawn: once, then in 300 resamples."""
    import numpy as np

    rng = np.random.default_rng(0)
    items = [{"number": number, "right": float(rng.random() < 0.6)} for number in range(40)]
    return items, np.concatenate([np.ones((1, 40), int), rng.multinomial(40, np.full(40, 1 / 40), 300)])


def _value(task: LmmsEvalTask, metric: str, items: list[Any], draws: Any) -> Any:
    names = [f"{item['number']:07d} {item!r}" for item in items]
    return task._aggregated(metric, {CountKey(metric, name): draws[:, row] for row, name in enumerate(names)})


@pytest.mark.parametrize(
    ("metric", "of"),
    [
        ("adds_up", lambda right, draw: right @ draw / 40),
        ("percent", lambda right, draw: 100 * right @ draw / draw.sum()),
        ("largest", lambda right, draw: max(n * r for n, r in enumerate(right) if draw[n])),
    ],
)
def test_a_metric_of_all_scores_is_that_of_what_was_drawn(
    metric: str, of: Any, aggregating: tuple[LmmsEvalTask, _Aggregating]
) -> None:
    import numpy as np

    items, draws = _draws()
    right = np.array([item["right"] for item in items])
    for _ in range(2):  # of another model too
        values = _value(aggregating[0], metric, items, draws)
        assert values == pytest.approx([of(right, draw) for draw in draws], abs=0.006)
        aggregating[0]._values.clear()


def test_a_mean_of_single_scores_and_a_file_take_few_calls(aggregating: tuple[LmmsEvalTask, _Aggregating]) -> None:
    """An aggregation of MMBench takes seconds, and there are thousands of resamples."""
    task, own = aggregating
    items, draws = _draws()
    for _ in range(3):
        _value(task, "percent", items, draws)
    assert all(value != value for value in _value(task, "file", items, draws))
    assert own.calls["percent"] < 40 + 20
    assert own.calls["file"] == 1


@pytest.mark.skipif(ABSENT, reason="lmms-eval is not installed")
def test_what_cannot_be_asked(tasks: Path, tmp_path: Path) -> None:
    def load(name: str, **settings: Any) -> None:
        entry = BENCHMARKS.get(f"lmms-eval:{name}")
        built = entry.settings(include=str(tmp_path), **settings)
        entry.task(built).samples(entry.opens(built), None)  # type: ignore[arg-type, misc]

    text = (tasks / "tiny_right.yaml").read_text()
    (tmp_path / "utils.py").write_text(UTILS)
    (tmp_path / "sampled.yaml").write_text(
        text.replace("tiny_right", "sampled").replace("temperature: 0", "temperature: 1")
    )
    (tmp_path / "gone.yaml").write_text(text.replace("tiny_right", "gone").replace("rows.jsonl", "none.jsonl"))
    with pytest.raises(UsageError, match="wants sampled answers"):
        load("sampled")
    with pytest.raises(InputError, match="gone cannot be loaded"):
        load("gone")
    with pytest.raises(UsageError, match="has no task 'mmmu_vall'") as error:
        load("mmmu_vall")
    assert "mmmu_val" in error.value.hint
    with pytest.raises(UsageError, match="has no task 'mmmu'") as error:
        load("mmmu")
    assert "It is a group; name its tasks: mmmu_val" in error.value.hint
    with pytest.raises(UsageError, match="its own, so that data cannot be set"):
        load("sampled", data="x")


@pytest.mark.skipif(ABSENT, reason="lmms-eval is not installed")
def test_the_tasks_of_the_suite_are_there() -> None:
    from lmms_eval.tasks import TaskManager

    known = TaskManager("ERROR").all_subtasks
    assert [name for name in CAPABILITIES if name.removeprefix("lmms-eval:") not in known] == []


@pytest.mark.skipif(not ABSENT, reason="lmms-eval is installed")
def test_it_is_told_how_to_install_it() -> None:
    entry = BENCHMARKS.get("lmms-eval:mmmu_val")
    with pytest.raises(UsageError, match="not installed") as error:
        entry.task(entry.settings())
    assert "mmpref[capabilities]" in error.value.hint


def test_names() -> None:
    with pytest.raises(UsageError, match="no benchmark but many") as error:
        BENCHMARKS.get("lmms-eval").task(BENCHMARKS.get("lmms-eval").settings())
    assert "--benchmark=lmms-eval:" in error.value.hint
    with pytest.raises(UsageError, match="no benchmark 'pope:adversarial'"):
        BENCHMARKS.get("pope:adversarial")
    with pytest.raises(UsageError, match="no benchmark 'lmms-evil'"):
        BENCHMARKS.get("lmms-evil:mmmu_val")
