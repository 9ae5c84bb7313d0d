"""Object HalBench on a small file of its shape and COCO's annotations: truth, judge, counts, and what is missing."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from mmpref.bench.benchmark import BENCHMARKS, Sample
from mmpref.bench.bootstrap import Clusters, replicates
from mmpref.bench.evaluate import evaluate
from mmpref.bench.recipe import EvaluateRecipe
from mmpref.errors import InputError, ModelError, UsageError
from mmpref.recipes.schema import build
from mmpref.tables.open import open_table
from tests.judges.server import ChatServer, text_of

from ..conftest import MODEL, png, write_rows
from .conftest import records

NAME = "object-halbench"
SYNONYMS = "person, man, woman\ncar\nbus, minibus\ntraffic light, street light\nchair, seat\ntoilet\ncup\n"

pytestmark = pytest.mark.usefixtures("own_cache")


def _coco(folder: Path, split: str, instances: dict[int, list[str]], captions: dict[int, list[str]]) -> None:
    """COCO's annotations of 2014: outlines and all."""
    names = ["person", "car", "bus", "traffic light"]
    images = [{"id": number, "file_name": f"COCO_{split}2014_{number:012d}.jpg", "width": 640} for number in instances]
    boxes = [
        {
            "segmentation": [[1.5, 2.5, 3.0]],
            "area": 9.5,
            "iscrowd": 0,
            "image_id": number,
            "bbox": [1, 2, 3, 4],
            "category_id": names.index(name) + 1,
            "id": 7,
        }
        for number, found in instances.items()
        for name in found
    ]
    categories = [{"supercategory": "x", "id": place, "name": name} for place, name in enumerate(names, 1)]
    said = [{"image_id": number, "id": 9, "caption": text} for number, texts in captions.items() for text in texts]
    folder.mkdir(exist_ok=True)
    for kind, content in (
        ("instances", {"annotations": boxes, "categories": categories}),
        ("captions", {"annotations": said}),
    ):
        file = folder / f"{kind}_{split}2014.json"
        file.write_text(json.dumps({"info": {"year": 2014}, "images": images, "licenses": [], **content}))


def _row(number: int, image_id: int | str, **changes: Any) -> dict[str, Any]:
    """FACTS.md B.1 and B.8, Object HalBench: obj_halbench_300_with_image.jsonl."""
    return {
        "org_idx": number,
        "image_id": image_id,
        "question": "Describe this image in detail.",
        "image": base64.b64encode(png(("red", "blue", "green")[number])).decode(),
        **changes,
    }


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    write_rows(tmp_path / "obj_halbench_300_with_image.jsonl", [_row(0, 42), _row(1, 139), _row(2, 285)])
    (tmp_path / "synonyms_refine.txt").write_text(SYNONYMS)
    _coco(tmp_path / "coco", "val", {42: ["car", "car"], 139: [], 7: ["bus"]}, {42: ["Two women at a street light."]})
    _coco(tmp_path / "coco", "train", {285: ["person"]}, {285: ["a cup"], 42: []})
    return {
        "data": str(tmp_path / "obj_halbench_300_with_image.jsonl"),
        "annotations": str(tmp_path / "coco"),
        "synonyms": str(tmp_path / "synonyms_refine.txt"),
    }


def _task(settings: dict[str, Any]) -> Any:
    entry = BENCHMARKS.get(NAME)
    return entry.task(build(entry.settings, settings))


def _judged(settings: dict[str, Any], judge: str, output: Path, tokens: int = 8) -> dict[str, Any]:
    block = {NAME: {**settings, "max_new_tokens": tokens}}
    return evaluate(EvaluateRecipe(MODEL, (NAME,), benchmark=block, judge=judge), output)


def _values(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["metric"].partition("@")[0]: row for row in found["results"]}


def test_the_truth_is_instances_and_captions_of_either_split(settings: dict[str, Any]) -> None:
    one = _task(settings)
    samples = one.samples(open_table(settings["data"]), None)
    assert [sample.reference for sample in samples] == [["car", "person", "traffic light"], [], ["cup", "person"]]
    assert [sample.image_id for sample in samples] == ["42", "139", "285"]
    assert samples[1].image is not None
    assert samples[1].image.content == png("blue")
    assert one.max_new_tokens == 1024


def test_train_is_read_only_for_what_val_does_not_have(settings: dict[str, Any], tmp_path: Path) -> None:
    for file in (tmp_path / "coco").glob("*train*"):
        file.unlink()
    assert len(_task(settings).samples(open_table(settings["data"]), 2)) == 2
    with pytest.raises(InputError, match=r"no .*instances_train2014\.json\. Unpack annotations_trainval2014"):
        _task(settings).samples(open_table(settings["data"]), 3)


def _rates(settings: dict[str, Any], said: list[tuple[str, str]]) -> dict[str, float]:
    """Metrics where the model answers so about the three images, and the judge replies so."""
    one = _task(settings)
    samples = one.samples(open_table(settings["data"]), None)
    scores = [one.read(sample, *pair) for sample, pair in zip(samples, said, strict=True)]
    clusters = Clusters.of([sample.image_id for sample in samples], scores)
    return {metric.name: float(replicates(clusters, metric, 0)[0]) for metric in one.metrics(scores)}


def test_rates_are_over_responses_that_mention_an_object(settings: dict[str, Any]) -> None:
    """By hand, by compute_chair: mentions man, woman, car, bus | none | cup, car; of truth 3 + 0 + 2 objects."""
    found = _rates(
        settings,
        [
            ("a b c d", '["man", "woman", "cars", "car", "minibus"]'),
            ("a  b c", '["sky"]'),
            ("w " * 6, '```json\n["cup", "car"]\n```'),
        ],
    )
    right, recall = 4 / 6, 3 / 5
    assert found == {
        "response_hallucination": pytest.approx(2 / 2),  # the second response mentions nothing, so it does not count
        "mention_hallucination": pytest.approx(1 - right),
        "recall": pytest.approx(recall),
        "f1": pytest.approx(2 * right * recall / (right + recall)),
        "mentions": pytest.approx(6 / 3),
        "words": pytest.approx((4 + 4 + 6) / 3),  # split(" "), as there
    }


def test_nothing_mentioned_at_all_is_no_error(settings: dict[str, Any]) -> None:
    found = _rates(settings, [("a b c d", "[]")] * 3)
    of_mentions = [found[name] for name in ("response_hallucination", "mention_hallucination", "f1")]
    assert str(of_mentions) == "[nan, nan, nan]", "the authors' file divides by 0 here"


def test_the_judge_reads_question_and_answer(settings: dict[str, Any], tmp_path: Path) -> None:
    with ChatServer(lambda *_: '["car", "bus"]') as server:
        found = _judged(settings, f"{server.url}#gpt-x", tmp_path / "run")
        roles = {message["role"] for request in server.requests for message in request["messages"]}
        asked = [text_of(request) for request in server.requests]
    assert roles == {"user"}
    question = "[Start of Question]\n\n<image> Describe this image in detail.\n\n[End of Question]\n\n"
    for row in records(tmp_path / "run", NAME):
        answer = f"[Start of Examiner's Answer]\n\n{row['answer']}\n\n[End of Examiner's Answer]"
        assert any(question + answer in text for text in asked)
    rows = _values(found)
    assert rows["response_hallucination"]["value"] == 1
    assert rows["mention_hallucination"]["value"] == pytest.approx(5 / 6)
    assert [name for name, row in rows.items() if row["headline"]] == ["response_hallucination"]
    assert records(tmp_path / "run", NAME)[0]["parsed"] == "car, bus"


def test_answers_of_three_words_need_no_judge(settings: dict[str, Any], tmp_path: Path) -> None:
    with ChatServer(lambda *_: "unread") as server:
        found = _judged(settings, f"{server.url}#m", tmp_path / "run", tokens=3)
        assert server.requests == []
    kept = records(tmp_path / "run", NAME)
    assert all(0 < len(row["answer"].split()) <= 3 for row in kept)
    assert [row["verdict"] for row in kept] == [None] * 3
    assert _values(found)["words"]["missing"] == 0
    assert _values(found)["mentions"]["value"] == 0
    counts = found["judge"]["replies"][NAME]["base"]
    assert [counts[name] for name in ("requests", "unreadable", "missing")] == [0, 0, 0]


def test_lists_that_cannot_be_read_are_missing(settings: dict[str, Any], tmp_path: Path) -> None:
    replies = iter(['["car"]', "I see a car.", '{"objects": ["car"]}'])
    with ChatServer(lambda *_: next(replies)) as server:
        found = _judged(settings, f"{server.url}#m", tmp_path / "run")
        assert (_values(found)["mentions"]["n"], _values(found)["mentions"]["missing"]) == (1, 2)
    with ChatServer(lambda *_: "A car.") as server, pytest.raises(ModelError, match="no readable verdict"):
        _judged(settings, f"{server.url}#m", tmp_path / "none")


def test_a_broken_image_is_missing(settings: dict[str, Any], tmp_path: Path) -> None:
    write_rows(Path(settings["data"]), [_row(0, 42), _row(1, 139, image="abc"), _row(2, 285, image="")])
    with ChatServer(lambda *_: '["car"]') as server:
        found = _judged(settings, f"{server.url}#m", tmp_path / "run")
    assert (_values(found)["mentions"]["n"], _values(found)["mentions"]["missing"]) == (1, 2)


def test_it_says_what_it_lacks(settings: dict[str, Any], tmp_path: Path) -> None:
    table = open_table(settings["data"])
    with pytest.raises(UsageError, match=r"table of synonyms.*synonyms_refine\.txt"):
        _task({**settings, "synonyms": None})
    with pytest.raises(UsageError, match=r"annotations_trainval2014\.zip.*--set benchmark\.object-halbench\.annot"):
        _task({**settings, "annotations": None}).samples(table, None)
    with pytest.raises(UsageError, match=r"no data on the Hub.*--set benchmark\.object-halbench\.data=PATH"):
        _judged({**settings, "data": None}, "testbed-oracle", tmp_path / "run")
    write_rows(Path(settings["data"]), [_row(0, 42), _row(1, 8)])
    with pytest.raises(InputError, match=r"row 1 .counted from 0.: the annotations in .*coco have no image 8"):
        _task(settings).samples(table, None)
    write_rows(Path(settings["data"]), [_row(0, "a42")])
    with pytest.raises(InputError, match=r"row 0 .counted from 0., column image_id is 'a42'"):
        _task(settings).samples(table, None)
    (tmp_path / "coco/captions_val2014.json").write_text("[1]")
    write_rows(Path(settings["data"]), [_row(0, 42)])
    with pytest.raises(InputError, match=r"captions_val2014\.json is no file of COCO's"):
        _task(settings).samples(table, None)


def test_objects_that_rows_have_need_no_annotations(settings: dict[str, Any]) -> None:
    write_rows(Path(settings["data"]), [_row(0, "scene-1", gt_object=["Minibuses", "zebra"])])
    one = _task({**settings, "annotations": None})
    samples: list[Sample] = one.samples(open_table(settings["data"]), None)
    assert (samples[0].reference, samples[0].image_id) == (["bus"], "scene-1")
    write_rows(Path(settings["data"]), [_row(0, "scene-1", objects="Minibus, zebra")])
    assert one.samples(open_table(settings["data"]), None)[0].reference == ["bus"]
    [remark] = one.remarks
    assert remark.startswith("object-halbench: 1 of 2 objects that the rows list are in no line")
    assert "'zebra'; first: row 0 (counted from 0)" in remark
