"""Every benchmark on a small file of its published shape: prompts, parts, groups, and rows that are wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mmpref.bench.benchmark import BENCHMARKS, CountKey
from mmpref.bench.bootstrap import Clusters
from mmpref.bench.parts import with_group_counts
from mmpref.errors import InputError, UsageError
from mmpref.recipes.schema import build
from mmpref.tables.open import open_table

from ..conftest import png, write_rows
from .conftest import cell, records, run, values, write_parquet

SHORT = "\nAnswer the question using a single word or phrase."


def task(name: str, **settings: Any) -> Any:
    entry = BENCHMARKS.get(name)
    return entry.task(build(entry.settings, settings))


def test_textvqa_with_and_without_ocr_tokens(textvqa_rows: list[dict[str, Any]], tmp_path: Path) -> None:
    file = write_parquet(tmp_path / "validation-00000-of-00001.parquet", textvqa_rows)
    found = run("textvqa", {"data": str(file)}, tmp_path / "plain")
    assert values(found)["vqa_accuracy", "all"]["n"] == 3
    assert records(tmp_path / "plain", "textvqa")[0]["prompt"] == f"What is the brand of this ibm?{SHORT}"
    run("textvqa-ocr", {"data": str(file)}, tmp_path / "ocr")
    prompt = records(tmp_path / "ocr", "textvqa-ocr")[0]["prompt"]
    assert prompt == f"What is the brand of this ibm?\nReference OCR token: ROLEI, DAKOTA{SHORT}"


def test_textvqa_scores_as_the_rule_does(textvqa_rows: list[dict[str, Any]], tmp_path: Path) -> None:
    table = open_table(str(write_parquet(tmp_path / "validation.parquet", textvqa_rows)), "validation")
    textvqa = task("textvqa")
    sample = textvqa.samples(table, None)[0]
    assert [textvqa.score(sample, text).counts["accuracy"] for text in ("Dakota.", "dakota digital", "x")] == [
        1,
        0.3,
        0,
    ]


def test_rows_without_ten_answers_are_refused_by_row_and_column(textvqa_rows, tmp_path: Path) -> None:
    textvqa_rows[1]["answers"] = []
    file = write_parquet(tmp_path / "test.parquet", textvqa_rows)
    with pytest.raises(
        InputError, match=r"test\.parquet .*row 1 \(counted from 0\), column answers has 0 entries.*validation"
    ):
        run("textvqa", {"data": str(file)}, tmp_path / "run")
    textvqa_rows[1]["answers"] = "red"
    rows = write_rows(tmp_path / "rows.jsonl", [{**row, "image": "a.png"} for row in textvqa_rows])
    with pytest.raises(InputError, match=r"row 1 \(counted from 0\), column answers is a str, not a list"):
        run("textvqa", {"data": str(rows)}, tmp_path / "run")


def _gqa(folder: Path, missing: str | None = None) -> Path:
    """FACTS.md B.1, GQA: questions and images in configurations of their own, joined on imageId = id."""
    questions = [
        {
            "id": f"2013072{i}",
            "imageId": f"n16131{i % 2}",
            "question": "Is it overcast?",
            "answer": "no",
            "fullAnswer": "No, it is clear.",
            "isBalanced": True,
            "types": {"structural": ("verify", "query")[i % 2], "semantic": "global", "detailed": "x"},
        }
        for i in range(4)
    ]
    images = [{"id": f"n16131{i}", "image": cell(i)} for i in range(2) if f"n16131{i}" != missing]
    write_parquet(folder / "testdev_balanced_instructions/testdev-00000-of-00001.parquet", questions)
    write_parquet(folder / "testdev_balanced_images/testdev-00000-of-00001.parquet", images)
    (folder / "README.md").write_text(
        "---\nconfigs:\n"
        + "".join(
            f"- config_name: testdev_balanced_{kind}\n  data_files:\n  - split: testdev\n"
            f"    path: testdev_balanced_{kind}/testdev-*\n"
            for kind in ("instructions", "images")
        )
        + "---\n"
    )
    return folder


def test_gqa_joins_its_images(tmp_path: Path) -> None:
    found = run("gqa", {"data": str(_gqa(tmp_path / "gqa"))}, tmp_path / "run")
    parts = values(found)
    assert {split for _, split in parts} == {"all", "verify", "query"}
    assert (parts["accuracy", "all"]["n"], parts["accuracy", "all"]["images"]) == (4, 2)
    assert records(tmp_path / "run", "gqa")[0]["prompt"] == f"Is it overcast?{SHORT}"


def test_two_rows_of_one_id_are_refused(tmp_path: Path) -> None:
    row = {"id": "7", "imageId": "a", "question": "Is it?", "answer": "no", "image": "a.png"}
    (tmp_path / "a.png").write_bytes(png("red"))
    with pytest.raises(InputError, match=r"several rows of the id '7'"):
        run("gqa", {"data": str(write_rows(tmp_path / "testdev.jsonl", [row, row]))}, tmp_path / "run")


def test_an_image_that_gqa_does_not_have_is_missing(tmp_path: Path) -> None:
    found = run("gqa", {"data": str(_gqa(tmp_path / "gqa", "n161311"))}, tmp_path / "run")
    assert values(found)["accuracy", "all"]["n"] == 2
    assert values(found)["accuracy", "all"]["missing"] == 2


def test_mme_counts_pairs(mme_rows: list[dict[str, Any]], tmp_path: Path) -> None:
    file = write_parquet(tmp_path / "test.parquet", mme_rows)
    found = values(run("mme", {"data": str(file)}, tmp_path / "run"))
    assert found["accuracy", "existence"]["n"] == 4
    assert found["accuracy_plus", "existence"]["n"] == 2
    expected = 100 * (found["accuracy", "OCR"]["value"] + found["accuracy_plus", "OCR"]["value"])
    assert found["score", "OCR"]["value"] == pytest.approx(expected)
    assert ("score", "perception") not in found  # eight of its categories are not there
    kept = records(tmp_path / "run", "mme")
    assert kept[0]["prompt"] == f"Is there a cup in the image? 0{SHORT}"
    both = [row["counts"].get("existence/both/n", 0) for row in kept]
    assert both == [1, 0, 1, 0, 0, 0, 0, 0]


def test_a_pair_with_a_missing_image_is_missing_as_a_whole(mme_rows: list[dict[str, Any]], tmp_path: Path) -> None:
    mme_rows[1]["image"] = {"bytes": png("red")[:30], "path": None}
    found = values(run("mme", {"data": str(write_parquet(tmp_path / "test.parquet", mme_rows))}, tmp_path / "run"))
    assert (found["accuracy", "existence"]["n"], found["accuracy", "existence"]["missing"]) == (3, 1)
    assert (found["accuracy_plus", "existence"]["n"], found["accuracy_plus", "existence"]["missing"]) == (1, 1)


def test_mme_rows_that_say_neither_yes_nor_no(mme_rows: list[dict[str, Any]], tmp_path: Path) -> None:
    mme_rows[2]["answer"] = "Maybe"
    with pytest.raises(InputError, match=r"row 2 \(counted from 0\), column answer is 'maybe', none of yes, no"):
        run("mme", {"data": str(write_parquet(tmp_path / "test.parquet", mme_rows))}, tmp_path / "run")


def test_mmstar(tmp_path: Path) -> None:
    """FACTS.md B.1, MMStar: Lin-Chen/MMStar, val."""
    rows = [
        {
            "index": i,
            "question": "Which one?\nOptions: A: red, B: blue, C: green, D: white",
            "image": cell(i),
            "answer": "ABCD"[i],
            "category": ("math", "coarse perception")[i % 2],
            "l2_category": "geometry",
            "meta_info": {"source": "MMBench", "split": "val", "image_path": "x.jpg"},
        }
        for i in range(4)
    ]
    table = str(write_parquet(tmp_path / "val.parquet", rows))
    found = values(run("mmstar", {"data": table}, tmp_path / "run"))
    assert found["accuracy", "math"]["n"] == 2
    mmstar = task("mmstar")
    samples = mmstar.samples(open_table(table, "val"), None)
    assert samples[0].messages[0].content.endswith("\nAnswer with the option's letter from the given choices directly")
    assert mmstar.score(samples[0], "Apples").counts == {
        CountKey("all", "right"): 1,
        CountKey("all", "strict"): 0,
        CountKey("all", "n"): 1,
        CountKey("math", "right"): 1,
        CountKey("math", "strict"): 0,
        CountKey("math", "n"): 1,
    }


def test_several_images_in_one_row_are_refused(tmp_path: Path) -> None:
    rows = [{"index": 0, "question": "Which?", "image": ["a.png", "b.png"], "answer": "A", "category": "math"}]
    with pytest.raises(
        InputError, match=r"row 0 \(counted from 0\), column image holds 2 images; this benchmark asks about one"
    ):
        run("mmstar", {"data": str(write_rows(tmp_path / "val.jsonl", rows))}, tmp_path / "run")


def _hallusion(kind: str, figure: int, question: int, truth: int, seen: str = "1") -> dict[str, Any]:
    """FACTS.md B.1 and B.9, HallusionBench: lmms-lab-encoder/HallusionBench, image and non_image."""
    return {
        "category": kind,
        "subcategory": "chart",
        "visual_input": seen,
        "set_id": "3",
        "figure_id": str(figure),
        "sample_note": "",
        "question_id": str(question),
        "question": "Is there a cup in the image?",
        "gt_answer_details": "",
        "gt_answer": str(truth),
        "filename": None,
        "image": None if seen == "0" else cell(figure),
    }


def test_hallusionbench_groups_figures_and_questions(tmp_path: Path) -> None:
    image = [_hallusion("VD", figure, question, figure) for figure in (0, 1) for question in (0, 1)]
    image.append(_hallusion("VS", 1, 0, 0, "2"))
    write_parquet(tmp_path / "hb/image-00000-of-00001.parquet", image)
    write_parquet(tmp_path / "hb/non_image-00000-of-00001.parquet", [_hallusion("VS", 0, 0, 1, "0")])
    found = values(run("hallusionbench", {"data": str(tmp_path / "hb")}, tmp_path / "run"))
    assert found["aAcc_yes_no", "all"]["n"] == 6
    assert found["fAcc_yes_no", "all"]["n"] == 3  # figure 0 of VS has no figure
    assert found["qAcc_yes_no", "all"]["n"] == 3
    assert found["aAcc_yes_no", "all"]["images"] == 2
    alone = values(run("hallusionbench", {"data": str(tmp_path / "hb"), "non_image_split": None}, tmp_path / "alone"))
    assert alone["aAcc_yes_no", "all"]["n"] == 5


def test_hallusionbench_is_right_where_all_of_a_group_are(tmp_path: Path) -> None:
    image = [_hallusion("VD", figure, question, figure) for figure in (0, 1) for question in (0, 1)]
    table = open_table(str(write_parquet(tmp_path / "image.parquet", image)), "image")
    hallusion = task("hallusionbench", non_image_split=None)
    samples = hallusion.samples(table, None)
    answers = ["No.", "no", "Yes, it is", "No"]  # the last one is wrong
    scores = with_group_counts(
        samples, [hallusion.score(*pair) for pair in zip(samples, answers, strict=True)], frozenset()
    )
    totals: dict[str, float] = {}
    for score in scores:
        for name, value in score.counts.items():
            totals[str(name)] = totals.get(str(name), 0) + value
    assert totals["all/right"] == 3
    assert (totals["all/figure/right"], totals["all/figure/n"]) == (1, 2)
    assert (totals["all/question/right"], totals["all/question/n"]) == (1, 2)


@pytest.mark.parametrize(
    ("kind", "figure", "answer", "right"),
    [
        ("VS", 0, "I cannot tell.", True),
        ("VS", 0, "yes", True),
        ("VS", 0, "no", False),
        ("VS", 1, "I cannot tell.", False),
        ("VD", 0, "I cannot tell.", False),
    ],
)
def test_who_sees_no_figure_of_hallusionbench_need_not_know(
    tmp_path: Path, kind: str, figure: int, answer: str, right: bool
) -> None:
    """`assign_correctness` of the official utils.py."""
    rows = [_hallusion(kind, figure, 0, 1, "0" if (kind, figure) == ("VS", 0) else "1")]
    hallusion = task("hallusionbench", non_image_split=None)
    [sample] = hallusion.samples(open_table(str(write_parquet(tmp_path / "all.parquet", rows)), "image"), None)
    score = hallusion.score(sample, answer)
    assert (score.right, score.counts[CountKey("all", "right")]) == (right, float(right))
    assert score.parse_failure == (answer == "I cannot tell."), "it is no yes and no no, whatever it counts as"


AMBER_ANNOTATIONS = [
    {"id": 1, "type": "generative", "truth": ["lake", "tree"], "hallu": ["boat"]},
    {"id": 1005, "type": "discriminative-attribute-state", "truth": "yes"},
    {"id": 1006, "type": "discriminative-hallucination", "truth": "no"},
    {"id": 1007, "type": "relation", "truth": "no"},
]


@pytest.fixture
def amber(tmp_path: Path) -> dict[str, str]:
    """FACTS.md B.9, AMBER: queries, annotations and word tables as in the authors' data folder."""
    queries = [{"id": 1, "image": "AMBER_1.jpg", "query": "Describe this image."}]
    queries += [
        {"id": i, "image": "AMBER_1.jpg", "query": "Is the sky sunny in this image?"} for i in (1005, 1006, 1007)
    ]
    (tmp_path / "images").mkdir()
    (tmp_path / "images/AMBER_1.jpg").write_bytes(png("blue"))
    content = {
        "query_all": queries,
        "annotations": AMBER_ANNOTATIONS,
        "relation": {"lake": ["water"], "tree": ["leaf"], "boat": ["sail"]},
    }
    for name, value in content.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(value))
    (tmp_path / "safe_words.txt").write_text("sky\n")
    return {
        "data": str(tmp_path / "query_all.json"),
        "annotations": str(tmp_path / "annotations.json"),
        "relation": str(tmp_path / "relation.json"),
        "safe_words": str(tmp_path / "safe_words.txt"),
        "images": str(tmp_path / "images"),
    }


def test_amber(amber: dict[str, str], tmp_path: Path) -> None:
    found = values(run("amber", amber, tmp_path / "run"))
    assert found["no_hal_lexical", "caption"]["n"] == 1
    assert {split for _, split in found} == {"caption", "all", "existence", "attribute", "relation"}
    assert found["accuracy", "all"]["n"] == 3
    one = task("amber", **amber)
    samples = one.samples(open_table(amber["data"]), None)
    counts = one.score(samples[0], "A lake with two sails and a boat under the sky.").counts
    assert (counts["caption", "mentions"], counts["caption", "hallucinated"], counts["caption", "covered"]) == (3, 2, 1)
    assert (counts["caption", "conjured"], counts["caption", "clean"]) == (1, 0)
    no = one.score(samples[2], "No").counts
    assert (no["existence", "right"], no["existence", "both_no"], no["all", "said_no"]) == (1, 1, 1)
    wordy = one.score(samples[2], "No, it is not.")
    assert (wordy.parse_failure, wordy.counts["all", "right"], wordy.counts["all", "read"]) == (True, 0, 1)


def test_amber_f1_begins_its_denominators_above_zero(amber: dict[str, str]) -> None:
    one = task("amber", **amber)
    samples = one.samples(open_table(amber["data"]), None)
    scores = [one.score(sample, answer) for sample, answer in zip(samples, ["", "Yes", "No", "Yes"], strict=True)]
    f1 = {metric.part: metric for metric in one.metrics(scores) if metric.name == "f1_no"}
    clusters = Clusters.of(["a"] * 4, scores)
    sums = dict(zip(clusters.names, clusters.sums.sum(0), strict=True))
    precision, recall = 1 / 1.001, 1 / 2.001
    assert f1["all"].value(sums) == pytest.approx(2 * precision * recall / (precision + recall + 0.0001))
    precision = recall = 1 / 1.001
    assert f1["existence"].value(sums) == pytest.approx(2 * precision * recall / (precision + recall + 0.001))


def test_amber_says_what_it_lacks(amber: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"table of related words.*junyangwang0410/AMBER"):
        run("amber", {}, tmp_path / "run")
    with pytest.raises(UsageError, match=r"no data on the Hub.*--set benchmark\.amber\.data=PATH"):
        run("amber", {"relation": amber["relation"]}, tmp_path / "run")
    Path(amber["annotations"]).write_text(json.dumps(AMBER_ANNOTATIONS[:3]))
    with pytest.raises(InputError, match=r"row 3 \(counted from 0\): .*annotations\.json has no annotation of id 1007"):
        run("amber", amber, tmp_path / "run")
    Path(amber["relation"]).write_text(json.dumps({"lake": []}))
    with pytest.raises(InputError, match=r"row 0 \(counted from 0\) is annotated with 'boat'"):
        run("amber", amber, tmp_path / "run")


def test_repope_takes_the_labels_and_leaves_out_what_is_unclear(tmp_path: Path) -> None:
    """FACTS.md B.2, RePOPE: JSON lines of three files; images and questions are POPE's."""
    pope = [
        {
            "id": str(i),
            "question_id": str(i),
            "question": f"Is there a {thing} in the image?",
            "answer": "yes",
            "image_source": "COCO_val2014_000000016631",
            "image": cell(0),
            "category": category,
        }
        for i, (thing, category) in enumerate([("cup", "random"), ("fork", "random"), ("cup", "popular")])
    ]
    write_parquet(tmp_path / "test.parquet", pope)
    label = {"question_id": 1, "image": "COCO_val2014_000000016631.jpg", "text": "Is there a cup in the image?"}
    write_rows(tmp_path / "labels/coco_repope_random.json", [{**label, "label": "no"}])
    write_rows(tmp_path / "labels/coco_repope_popular.json", [{**label, "label": "yes"}])
    settings = {"data": str(tmp_path / "test.parquet"), "annotations": str(tmp_path / "labels")}
    found = values(run("repope", settings, tmp_path / "run"))
    assert found["accuracy", "all"]["n"] == 2
    kept = records(tmp_path / "run", "repope")
    assert [row["reference"] for row in kept] == [
        {"answer": "no", "part": "random"},
        {"answer": "yes", "part": "popular"},
    ]
    with pytest.raises(UsageError, match="YanNeu/RePOPE"):
        run("repope", {"data": str(tmp_path / "test.parquet")}, tmp_path / "other")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"has no coco_repope"):
        run("repope", {**settings, "annotations": str(tmp_path / "empty")}, tmp_path / "other")
