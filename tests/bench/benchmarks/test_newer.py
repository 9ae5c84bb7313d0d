"""DASH-B, NaturalBench, MMVP, VL-RewardBench and RefoMB: small files of their true shape, scores computed by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from mmpref.bench.benchmark import BENCHMARKS, Score
from mmpref.bench.benchmarks.mmvp import letter
from mmpref.bench.bootstrap import Clusters, replicates
from mmpref.bench.parts import with_group_counts
from mmpref.bench.plan import load_plan
from mmpref.bench.scoring.vl_rewardbench import better, group_of
from mmpref.errors import InputError
from mmpref.recipes.schema import build
from mmpref.tables.open import open_table

from ..conftest import png, write_rows
from .conftest import cell, run, values, write_parquet


def task(name: str, **settings: Any) -> Any:
    entry = BENCHMARKS.get(name)
    return entry.task(build(entry.settings, settings))


def measured(one: Any, samples: Sequence[Any], scores: Sequence[Score]) -> dict[tuple[str, str], float]:
    """Every metric's value."""
    whole = with_group_counts(samples, scores, frozenset())
    names = {name for score in whole for name in score.counts}
    clusters = Clusters.of([sample.image_id for sample in samples], whole, names)
    return {(metric.name, metric.part): float(replicates(clusters, metric, 0)[0]) for metric in one.metrics(whole)}


def answered(
    name: str, data: Path, answers: Sequence[str], split: str, **settings: Any
) -> dict[tuple[str, str], float]:
    one = task(name, **settings)
    samples = one.samples(open_table(str(data), split), None)
    scores = [one.score(sample, answer) for sample, answer in zip(samples, answers, strict=True)]
    return measured(one, samples, scores)


def test_dash_b(tmp_path: Path) -> None:
    """YanNeu/DASH-B 1538d01, src/evaluate_hf.py and src/eval_utils.py `compute_results_hf`."""
    rows = [
        {
            "question_id": i,
            "img_id": f"23270671{i}",
            "image": cell(i),
            "object": "backpack",
            "answer": answer,
            "question": "Can you see a backpack in this image? Please answer only with yes or no.",
        }
        for i, answer in enumerate(["no", "no", "no", "yes", "yes"])
    ]
    file = write_parquet(tmp_path / "test-00000-of-00001.parquet", rows)
    found = answered("dash-b", file, ["No.", "I know it", "Yes, no doubt", "YES", "maybe"], "test")
    assert found["accuracy", "all"] == pytest.approx(3 / 5)
    assert (found["tnr", "all"], found["tpr", "all"]) == (pytest.approx(2 / 3), 1 / 2)
    assert found["harmonic_mean", "all"] == pytest.approx(4 / 7)
    kept = values(run("dash-b", {"data": str(file)}, tmp_path / "run"))
    assert (kept["accuracy", "all"]["n"], kept["accuracy", "all"]["images"]) == (5, 5)


def natural(kind: str, number: int = 0) -> dict[str, Any]:
    """Baiqi-Li/NaturalBench 9967605, naturalbench_vqa.py."""
    true, false = ("Yes", "No") if kind == "yes_no" else ("A", "B")
    return {
        "Index": number,
        "Image_0": cell(0),
        "Image_1": cell(1),
        "Question_0": "Is it red?",
        "Question_1": "Is it blue?",
        "Image_0_Question_0": true,
        "Image_1_Question_0": false,
        "Image_0_Question_1": false,
        "Image_1_Question_1": true,
        "Question_Type": kind,
        "Source": "Flickr30K",
    }


def test_naturalbench(tmp_path: Path) -> None:
    file = write_parquet(tmp_path / "train.parquet", [natural("yes_no"), natural("multiple_choice", 1)])
    samples = task("naturalbench").samples(open_table(str(file), "train"), None)
    assert [sample.id for sample in samples[:4]] == ["0-q0-i0", "0-q0-i1", "0-q1-i0", "0-q1-i1"]
    assert samples[0].messages[0].content == "Is it red?Please answer Yes or No."
    assert samples[1].image == samples[3].image != samples[0].image
    # The first row is right but for question 1 about image 1; of the second question 0 about image 0 says nothing.
    answers = ["Yes, not no.", "no", "No", "No", "C", "(b)", "B", "Option A"]
    found = answered("naturalbench", file, answers, "train")
    assert found["acc", "all"] == 6 / 8
    assert found["q_acc", "all"] == 2 / 4
    assert found["i_acc", "all"] == 2 / 4
    assert found["g_acc", "all"] == 0
    right = answered("naturalbench", file, ["Yes", "No", "No", "Yes", "A.", "B", "B", "A"], "train")
    assert set(right.values()) == {1.0}
    kept = values(run("naturalbench", {"data": str(file)}, tmp_path / "run"))
    assert (kept["acc", "all"]["n"], kept["g_acc", "all"]["n"], kept["g_acc", "all"]["images"]) == (8, 2, 2)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("A", "A"),
        (" (b). ", "B"),
        ("A answer", "A"),
        ("The answer is b", "B"),
        ("Option (A), open", "A"),
        ("Bright", "B"),
        ("Open", ""),
        ("", ""),
        ("a dog", "A"),
    ],
)
def test_letters_of_mmvp(answer: str, expected: str) -> None:
    """lmms-eval 75571cf, tasks/mmvp/utils.py `_extract_answer_letter`."""
    assert letter(answer) == expected


def mmvp(number: int) -> dict[str, Any]:
    """lmms-eval 75571cf, tasks/mmvp/utils.py; tsb0601/MMVP 7635005, scripts/evaluate_mllm.py."""
    return {
        "Index": number,
        "Question": "Are the wings open or closed?",
        "Options": "(a) Open (b) Closed",
        "Correct Answer": "(a)" if number % 2 else "(b)",
    }


def test_mmvp(tmp_path: Path) -> None:
    rows = [mmvp(number) for number in range(1, 5)]
    file = write_parquet(tmp_path / "train.parquet", [{**row, "image": cell(i)} for i, row in enumerate(rows)])
    found = answered("mmvp", file, ["A", "(b)", "A", "A"], "train")
    assert (found["pair_accuracy_letter", "all"], found["accuracy_letter", "all"]) == (1 / 2, 3 / 4)
    sample = task("mmvp").samples(open_table(str(file), "train"), None)[0]
    assert sample.messages[0].content == (
        "Are the wings open or closed?\nA. Open\nB. Closed\n"
        "Answer with the option's letter from the given choices directly."
    )


def test_what_a_person_calls_a_column_goes_before_what_its_authors_do(tmp_path: Path) -> None:
    row = {**mmvp(1), "image": cell(0)}
    file = str(write_parquet(tmp_path / "train.parquet", [{**row, "Mine": "b"}, {**row, "Mine": "a"}]))
    plan = load_plan("mmvp", "", {"data": file, "split": "train", "columns": {"answer": "Mine"}}, None)
    assert [sample.reference["answer"] for sample in plan.samples] == ["B", "A"]


def test_a_limit_takes_whole_pairs_of_mmvp(tmp_path: Path) -> None:
    rows = [{**mmvp(number), "image": cell(number)} for number in range(1, 7)]
    table = open_table(str(write_parquet(tmp_path / "train.parquet", rows)), "train")
    for limit, asked in ((1, 2), (3, 4), (4, 4), (None, 6)):
        pairs = [sample.image_id for sample in task("mmvp").samples(table, limit)]
        assert len(pairs) == asked == 2 * len(set(pairs))


def test_mmvp_as_its_authors_publish_it(tmp_path: Path) -> None:
    (tmp_path / "MMVP Images").mkdir()
    for number in (1, 2):
        (tmp_path / "MMVP Images" / f"{number}.jpg").write_bytes(png("red"))
    lines = ["Index,Question,Options,Correct Answer", *(",".join(map(str, mmvp(n).values())) for n in (1, 2))]
    (tmp_path / "Questions.csv").write_text("\n".join(lines) + "\n")
    settings = {"data": str(tmp_path / "Questions.csv"), "images": str(tmp_path / "MMVP Images")}
    kept = values(run("mmvp", settings, tmp_path / "run"))
    assert (kept["accuracy_letter", "all"]["n"], kept["accuracy_letter", "all"]["missing"]) == (2, 0)


def vl_reward(name: str, best: int) -> dict[str, Any]:
    """vl-rewardbench/VL_RewardBench 9b10abd, inference_hf.py `process_item`."""
    return {
        "id": name,
        "query": "<image>\nWhat is on the table?",
        "response": ["A cup.", "A cat."],
        "human_ranking": [best, 1 - best],
        "models": ["one", "other"],
        "judge": ["person"],
        "rationale": [""],
        "query_source": "",
        "image": cell(best),
    }


REWARD_ROWS = [vl_reward("RLAIF-V-0", 0), vl_reward("mmmu_12", 1), vl_reward("wildvision-battle-7", 0)]


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("RLAIF-V-0", "hallucination"),
        ("RLHF-V_3", "hallucination"),
        ("hallucination_pair-8", "hallucination"),
        ("mathverse-1", "reasoning"),
        ("mmmu_dev", "reasoning"),
        ("wildvision-battle-7", "general"),
        ("llava-reasoning-3730", "general"),
    ],
)
def test_groups_of_vl_rewardbench(name: str, group: str) -> None:
    assert group_of(name) == group


def test_verdicts_of_vl_rewardbench() -> None:
    assert better("Accuracy: ...\n**Overall Judgment:**\nAnswer 2 is the slightly better.") == 2
    assert better("Therefore, I think Answer 1 is better.") == 1
    assert better("Overall judgment: Answer 3 is better") is None
    assert better("Answer 1 is better.") is None


def test_vl_rewardbench_of_annotators(tmp_path: Path) -> None:
    file = write_parquet(tmp_path / "test.parquet", REWARD_ROWS)
    one = task("vl-rewardbench")
    samples = one.samples(open_table(str(file)), None)
    assert "Answer 1: A cup.\n\nAnswer 2: A cat." in samples[0].messages[0].content
    assert "Answer 1: A cat.\n\nAnswer 2: A cup." in samples[1].messages[0].content
    assert "Answer 1: A cat.\n\nAnswer 2: A cup." in samples[2].messages[0].content, "of rank 0 is the second"
    assert "<image>" not in samples[0].messages[0].content
    first, second = (f"Overall Judgment: Answer {place} is better." for place in (1, 2))
    found = answered("vl-rewardbench", file, [first, second, first, first, "Hm.", first], "test")
    assert found["accuracy", "hallucination"] == 1
    assert found["accuracy", "reasoning"] == 1 / 2
    assert found["accuracy", "general"] == 0, "of one verdict that can be read"
    assert found["accuracy", "all"] == 3 / 5
    assert found["macro_accuracy", "all"] == pytest.approx(1.5 / 3)
    assert found["both_orders", "all"] == pytest.approx(1 / 3)
    assert found["named_first", "all"] == 4 / 5


def test_vl_rewardbench_of_reward_models(tmp_path: Path) -> None:
    file = write_parquet(tmp_path / "test.parquet", REWARD_ROWS)
    one = task("vl-rewardbench-rm")
    samples = one.samples(open_table(str(file)), None)
    assert [sample.reference["chosen"] for sample in samples] == ["A cup.", "A cat.", "A cup."]
    pairs = [(2.0, 1.0), (0.0, 0.0), (-1.0, 3.0)]
    answers = [json.dumps({"chosen": chosen, "rejected": rejected}) for chosen, rejected in pairs]
    found = answered("vl-rewardbench-rm", file, answers, "test")
    assert [found["accuracy", part] for part in ("hallucination", "reasoning", "general")] == [1, 1 / 2, 0]
    assert found["accuracy", "all"] == found["macro_accuracy", "all"] == pytest.approx(1 / 2)


def test_vl_rewardbench_rows_that_are_no_pairs(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png("red"))
    row = {**REWARD_ROWS[0], "image": "a.png"}
    file = write_rows(tmp_path / "test.jsonl", [{**row, "human_ranking": [1, 1]}])
    with pytest.raises(InputError, match=r"row 0 \(counted from 0\), column human_ranking is \[1, 1\], neither"):
        task("vl-rewardbench").samples(open_table(str(file)), None)
    write_rows(file, [{**row, "response": ["A cup."]}])
    with pytest.raises(InputError, match=r"row 0 \(counted from 0\), column response has 1 entries, not 2"):
        task("vl-rewardbench").samples(open_table(str(file)), None)


def test_refomb(tmp_path: Path) -> None:
    """RLHF-V/RLAIF-V 83d917b, eval/data/gpt4v_RefoMB_dev_0521.jsonl and eval/eval_RefoMB_p0.py."""
    (tmp_path / "images").mkdir()
    rows = []
    for number, kind in enumerate(["OCR", "OCR", "Creative generation"]):
        (tmp_path / "images" / f"multimodal_openmme_test__{number}.jpg").write_bytes(png("red"))
        rows.append(
            {
                "image_url": f"https://example.org/multimodal_openmme_test__{number}.jpg",
                "question": "What does it say?",
                "description": "A sign that says stop.",
                "type": kind,
                "split": "dev",
                "id": str(number),
                "answer": "It says stop.",
            }
        )
    file = write_rows(tmp_path / "test.jsonl", rows)
    one = task("refomb", images=str(tmp_path / "images"))
    samples = one.samples(open_table(str(file)), None)
    assert all(sample.image.content for sample in samples)
    query = one.query(samples[0], "Go.", one.instruction)
    assert query.images == ()
    assert "[Beginning of Model A's answer]\nIt says stop." in query.messages[-1].content
    assert "[Beginning of Model B's answer]\nGo." in query.messages[-1].content
    replies = ["A has none, B has one: [[A]]", "[[B]] as both ... [[A]]", "Equal. [[C]]"]
    scores = [one.read(sample, "x", reply) for sample, reply in zip(samples, replies, strict=True)]
    found = measured(one, samples, scores)
    assert found["win_rate", "OCR"] == found["win_rate", "Creative generation"] == found["win_rate", "all"] == 1 / 2
    assert one.read(samples[0], "x", "A is better.") is None
