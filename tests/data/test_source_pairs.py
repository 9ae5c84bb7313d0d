"""Pairs that a source already has: kept as they are, united, and beside answers that a method writes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image

from mmpref.data.build import build_dataset
from mmpref.data.recipe import BuildRecipe
from mmpref.data.shards import as_row
from mmpref.data.summary import summary_rows
from mmpref.errors import InputError, RunError, UsageError
from mmpref.hub.cards.dataset import write_dataset_card
from mmpref.types import Example, ImageData, Message, Pair, Skip

pytestmark = pytest.mark.usefixtures("reverse")


def pairs(folder: Path, name: str, png: bytes, count: int = 5, **more: Any) -> str:
    """A TRL-like preference set; its last row has no rejected answer, and the one before two equal ones."""
    folder.mkdir(exist_ok=True)
    (folder / "x.png").write_bytes(png)
    rows = [
        {
            "id": f"{name}{n}",
            "image": "x.png",
            "prompt": "What is it?",
            "chosen": f"It is number {n}.",
            "rejected": f"It is a dog {n}.",
            "source": "vqa",
            "chosen_model": "a",
            "rejected_model": "b",
            "margin": n,
            **more,
        }
        for n in range(count)
    ]
    rows[-1]["rejected"] = None
    rows[-2]["rejected"] = rows[-2]["chosen"]
    (folder / f"{name}.json").write_text(json.dumps(rows))
    return str(folder / f"{name}.json")


def build(output: Path, **recipe: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    values: dict[str, Any] = {"model": None, "method": "mix", "block_size": 2, **recipe}
    manifest = build_dataset(BuildRecipe(**values), output, write_card=write_dataset_card)
    return manifest, pq.read_table(output / "data").to_pylist()


def test_mix_keeps_pairs(tmp_path: Path, png: bytes) -> None:
    manifest, rows = build(tmp_path / "run", source=pairs(tmp_path / "in", "a", png))
    assert manifest["counts"] == {"rows": 3, "skipped": {"no-rejected": 1, "same-as-chosen": 1}}
    row = rows[1]
    assert (row["chosen"][0]["content"], row["rejected"][0]["content"]) == ("It is number 1.", "It is a dog 1.")
    assert [row[name] for name in ("source", "chosen_model", "rejected_model", "margin")] == ["vqa", "a", "b", 1.0]
    assert (row["method"], row["similarity"], row["source_id"]) == ("mix", None, "a.json/train/1")
    assert manifest["model"] is None
    assert manifest["family"] is None


def test_how_grave_mistakes_are_goes_along_with_the_sources_own_pairs_only(tmp_path: Path, png: bytes) -> None:
    source = pairs(tmp_path / "in", "a", png, severity=2.5)
    assert {row["severity"] for row in build(tmp_path / "own", source=source)[1]} == {2.5}
    others = build(tmp_path / "others", source=source, method="reverse", model="m")[1]
    assert {row.get("severity") for row in others} == {None}


def test_mix_of_our_own_pairs_keeps_how_they_were_made(tmp_path: Path, png: bytes) -> None:
    ours = tmp_path / "reversed"
    before = build(ours, source=pairs(tmp_path / "in", "a", png), method="reverse", model="m", keep_rejected=True)[1]
    after = build(tmp_path / "run", source=str(ours))[1]
    assert {row["method"] for row in after} == {"reverse"}
    same = ("images", "prompt", "chosen", "rejected", "rejected_policy", "id", "similarity", "iterations", "margin")
    assert [[row[name] for name in same] for row in after] == [[row[name] for name in same] for row in before]


def test_facts_of_a_rejected_answer_are_those_of_who_wrote_it(png: bytes) -> None:
    """Even where a method happens to write what the source has."""
    facts = {"source": "vqa", "chosen_model": "a", "rejected_model": "b", "margin": 2.0}
    example = Example("1", (ImageData(png),), (), "A cup.", "x/train/1", rejected="A fork.", facts=facts)
    pair = Pair(example, "A fork.", "bdhs", 0.5, 1, 0)
    assert facts.keys() & as_row(pair).keys() == {"source", "chosen_model"}
    assert facts.items() <= as_row(replace(pair, rejected_by="example")).items()


def test_a_union(tmp_path: Path, png: bytes) -> None:
    one, two = pairs(tmp_path / "one", "a", png), pairs(tmp_path / "two", "a", png, 4, margin=None, source=None)
    manifest, rows = build(tmp_path / "run", source=(one, two))
    assert [row["id"] for row in rows] == ["a0", "a1", "a2", "a0#5", "a1#6"]
    assert [row["source"] for row in rows] == ["vqa"] * 3 + [None] * 2
    assert manifest["source"]["id"] == "a.json + a.json"
    assert [source["id"] for source in manifest["source"]["sources"]] == [one, two]
    card = (tmp_path / "run/README.md").read_text()
    assert str(tmp_path) not in card
    assert card.count("--source /path/to/a.json") == 2
    limited = build(tmp_path / "limited", source=(one, two), limit=1)[1]
    assert [row["id"] for row in limited] == ["a0", "a0#1"]


def test_a_union_may_mix_shapes_and_image_folders(tmp_path: Path, png: bytes) -> None:
    one = pairs(tmp_path / "one", "a", png)
    folder = tmp_path / "two"
    folder.mkdir()
    (folder / "y.png").write_bytes(png)
    talk = [{"from": "human", "value": "<image>\nWhat?"}]
    row = {"conversations": talk, "chosen": {"from": "gpt", "value": "A."}, "rejected": {"from": "gpt", "value": "B."}}
    (folder / "rows.jsonl").write_text(json.dumps({**row, "images": ["y.png"]}))
    rows = build(tmp_path / "run", source=(one, str(folder / "rows.jsonl")))[1]
    assert [row["rejected"][0]["content"] for row in rows][-1] == "B."


def test_a_source_of_a_union_that_changed_is_refused(tmp_path: Path, png: bytes) -> None:
    one, two = pairs(tmp_path / "one", "a", png), pairs(tmp_path / "two", "b", png)
    recipe = BuildRecipe(model=None, source=(one, two), method="mix", block_size=2)
    waiting = build_dataset(recipe, tmp_path / "run", shard=(0, 2))
    assert waiting["waiting"] == 2
    pairs(tmp_path / "two", "b", png, 4)
    with pytest.raises(RunError, match="has changed since"):
        build_dataset(recipe, tmp_path / "run")
    pairs(tmp_path / "two", "b", png)
    assert build_dataset(recipe, tmp_path / "run")["data"] == build(tmp_path / "whole", source=(one, two))[0]["data"]


def test_one_source_has_one_hash(tmp_path: Path, png: bytes) -> None:
    source = pairs(tmp_path / "in", "a", png)
    hashes = {build(tmp_path / str(n), source=given)[0]["recipe_hash"] for n, given in enumerate((source, (source,)))}
    assert len(hashes) == 1


def test_reversed_pairs_are_swapped_with_all_that_is_said_of_them(tmp_path: Path, png: bytes) -> None:
    source = pairs(tmp_path / "in", "a", png, rejected_policy="It is a bird.", severity=2.5)
    manifest, rows = build(tmp_path / "run", source=source, method="reversed")
    assert manifest["counts"] == {"rows": 3, "skipped": {"no-rejected": 1, "same-as-chosen": 1}}
    row = rows[1]
    assert (row["chosen"][0]["content"], row["rejected"][0]["content"]) == ("It is a dog 1.", "It is number 1.")
    assert [row[name] for name in ("source", "chosen_model", "rejected_model", "margin")] == ["vqa", "b", "a", -1.0]
    assert row["method"] == "reversed"
    assert "rejected_policy" not in row
    assert "severity" not in row, "it was of the mistakes in what is chosen now"
    card = (tmp_path / "run/README.md").read_text()
    assert "chosen and rejected swapped; training on them should do harm." in card
    assert "there to compare with" in card
    assert "teaches a model to go by what it sees" not in card


def test_pairs_that_are_reversed_twice_are_the_pairs(tmp_path: Path, png: bytes) -> None:
    first = build(tmp_path / "mix", source=pairs(tmp_path / "in", "a", png))[1]
    build(tmp_path / "once", source=str(tmp_path / "mix"), method="reversed")
    twice = build(tmp_path / "twice", source=str(tmp_path / "once"), method="reversed")[1]
    own = ("method", "source_id")
    assert [{**row, **dict.fromkeys(own)} for row in twice] == [{**row, **dict.fromkeys(own)} for row in first]


def test_a_control_beside_the_sources_answers(tmp_path: Path, png: bytes) -> None:
    source = pairs(tmp_path / "in", "a", png)
    content = json.loads(Path(source).read_text())
    for number, (row, colour) in enumerate(zip(content, ("red", "green", "blue", "white", "black"), strict=True)):
        row["image"] = f"{number}.png"
        picture = Image.new("RGB", (64, 64), colour)
        picture.paste("yellow", (8 * number, 0, 8 * number + 24, 64))
        picture.save(tmp_path / "in" / row["image"])
    Path(source).write_text(json.dumps(content))
    rows = build(tmp_path / "run", source=source, method="mismatched", keep_rejected=True)[1]
    assert [row["rejected"][0]["content"] for row in rows] == [f"It is a dog {n}." for n in range(len(rows))]
    for row in rows:
        assert row["rejected_policy"][0]["content"].startswith("It is number")
        assert row["rejected_policy"] != row["chosen"]


def test_our_answers_beside_the_sources(tmp_path: Path, png: bytes) -> None:
    source = pairs(tmp_path / "in", "a", png)
    beside, rows = build(tmp_path / "beside", source=source, method="reverse", model="m", keep_rejected=True)
    assert beside["counts"] == {"rows": 3, "skipped": {"no-rejected": 1, "same-as-chosen": 1}}
    assert rows[1]["rejected"][0]["content"] == "It is a dog 1."
    assert rows[1]["rejected_policy"][0]["content"] == "1. number is It"
    assert (rows[1]["rejected_model"], rows[1]["similarity"]) == ("b", 0.4)
    assert "those in `rejected_policy` were written by the method" in (tmp_path / "beside/README.md").read_text()
    instead, rows = build(tmp_path / "instead", source=source, method="reverse", model="m")
    assert instead["counts"]["rows"] == 5
    assert rows[1]["rejected"][0]["content"] == "1. number is It"
    assert not {"rejected_policy", "rejected_model", "margin"} & set(rows[1]), "they are not about our answer"
    assert rows[1]["chosen_model"] == "a"


def test_refusals(tmp_path: Path, png: bytes) -> None:
    source = pairs(tmp_path / "in", "a", png)
    for recipe, message in (
        ({"source": source, "keep_rejected": True}, "keep_rejected is for methods that write theirs"),
        ({"source": source, "keep_rejected": True, "method": "reversed"}, "no rejected answers but the source's own"),
        ({"source": None, "method": "reversed"}, "The method reversed needs a source"),
        ({"source": None}, "needs a source"),
        ({"source": source, "method": "reverse"}, "needs a model"),
        ({"source": source, "builder": {"rho_th": 0.9}}, "no setting 'rho_th'"),
    ):
        with pytest.raises(UsageError, match=message):
            build(tmp_path / "run", **recipe)
    with pytest.raises(InputError, match=r"lacks rejected; its columns are .* Preference data has"):
        build(tmp_path / "run", source="testbed", method="reversed")
    with pytest.raises(InputError, match="One source revision cannot hold for several"):
        build(tmp_path / "run", source=(source, source), source_revision="main")


def test_a_published_set_from_a_folder_of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A downloaded repository, images in its archive, and nothing on the Hub; where one works says no split."""
    from tests.data.published import shapes

    folder = tmp_path / "VLFeedback"
    folder.mkdir()
    shapes.vlfeedback_files(folder)
    (tmp_path / "test").mkdir()
    monkeypatch.chdir(tmp_path / "test")
    assert build(tmp_path / "run", source=str(folder), method="vlfeedback")[0]["counts"]["rows"] == 2
    one = build(
        tmp_path / "one",
        source=str(folder / "vlfeedback_80k.jsonl"),
        method="vlfeedback",
        image_root=(str(folder / "merged_images.zip"),),
    )
    assert one[0]["counts"]["rows"] == 2
    with pytest.raises(InputError, match="has no split 'test'"):
        build(tmp_path / "test", source=str(folder), method="vlfeedback", split="test")


def test_lengths_that_differ_are_warned_of_everywhere(
    tmp_path: Path, png: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    more = {"chosen": "w " * 50, "rejected": "v " * 52, "rejected_policy": "u " * 45}
    with caplog.at_level("WARNING", "mmpref"):
        manifest, _ = build(tmp_path / "run", source=pairs(tmp_path / "in", "a", png, **more))
    longer, shorter = "Rejected answers are 4.0% longer", "Answers in rejected_policy are 10.0% shorter"
    report = json.loads((tmp_path / "run/report.json").read_text())
    assert report["length_bias"]["ratio"] == manifest["length_ratio"] == 1.04
    assert [warning.partition(" than")[0] for warning in report["warnings"][:2]] == [longer, shorter]
    assert dict(summary_rows(manifest))["length of rejected answers over chosen ones, in words"] == "1.040"
    card = (tmp_path / "run/README.md").read_text()
    for said in (longer, shorter):
        assert f"Warning: {said}" in caplog.text
        assert said.replace("_", "&#95;") in card
    caplog.clear()
    build(
        tmp_path / "even",
        source=pairs(tmp_path / "in", "b", png, **{**more, "rejected": "v " * 51, "rejected_policy": None}),
    )
    assert "longer" not in caplog.text
    assert "DPO then also" not in (tmp_path / "even/README.md").read_text()


def test_pairs_that_repeat_or_contradict_others_are_told_of_everywhere(
    tmp_path: Path, png: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "x.png").write_bytes(png)
    answers = [("A cup.", "A fork."), ("A cup.", "A fork."), ("A fork.", "A cup."), ("A cup.", "A spoon.")]
    rows = [{"image": "x.png", "prompt": "What is it?", "chosen": one, "rejected": other} for one, other in answers]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    with caplog.at_level("WARNING", "mmpref"):
        build(tmp_path / "run", source=str(tmp_path / "a.json"))
    report = json.loads((tmp_path / "run/report.json").read_text())
    card = (tmp_path / "run/README.md").read_text()
    assert report["repeated"] == {"duplicates": 1, "conflicts": 3}
    for said in ("1 of 4 pairs repeat an earlier one", "3 of 4 pairs contradict another one"):
        assert f"Warning: {said}" in caplog.text
        assert said in card
    (tmp_path / "a.json").write_text(json.dumps(rows[2:]))
    build(tmp_path / "none", source=str(tmp_path / "a.json"))
    assert "repeated" not in json.loads((tmp_path / "none/report.json").read_text())
    assert "repeat an earlier" not in (tmp_path / "none/README.md").read_text()


def test_answers_that_a_model_wrote_are_held_to_its_special_tokens(png: bytes) -> None:
    from types import SimpleNamespace

    from transformers import AutoTokenizer

    from mmpref.data.blocks import SpecialTokenFilter
    from mmpref.registry import resolve_path
    from mmpref.vlm.special_tokens import special_tokens_of

    tokenizer = AutoTokenizer.from_pretrained(resolve_path("pkg:mmpref.testbed/model"))
    example = Example("1", (ImageData(png),), (Message("user", "What?"),), "A cup.", "x/train/1")
    good = Pair(example, "A fork.", "bdhs", 0.5, 1, 0)
    policy = SimpleNamespace(markup_tokens=special_tokens_of(tokenizer))
    check = SpecialTokenFilter(lambda: policy)  # type: ignore[arg-type,return-value]
    assert check(good) == good
    assert check(Pair(example, "A </s> fork.", "bdhs", 0.5, 1, 0)) == Skip(
        "1", "special-token", "rejected contains </s>"
    )
    assert check(Pair(example, "A.", "bdhs", 0.5, 1, 0, "B <pad>")).reason == "special-token"  # type: ignore[union-attr]
    assert SpecialTokenFilter(lambda: None)(Pair(example, "A </s>.", "mix", None, 1, 0)).rejected  # type: ignore[union-attr]


def test_weights_of_rows_and_words_go_along(tmp_path: Path, png: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """Where a part has none its rows have null, and the report says how many: `dama` skips these, `token-dpo` does not.
    Columns of these names that are something else are a set's own affair."""
    spans = [{"begin": 0, "end": 2, "weight": 4.0}]
    weights = {"hardness": 0.5, "chosen_weights": spans, "rejected_weights": spans}
    parts = (
        pairs(tmp_path / "in", "a", png, **weights),
        pairs(tmp_path / "in", "b", png, hardness="easy", chosen_weights="many"),
        pairs(tmp_path / "in", "c", png, **{**weights, "hardness": -1, "rejected_weights": None}),
    )
    _, rows = build(tmp_path / "run", source=parts)
    assert "is not read" not in caplog.text
    assert [row["hardness"] for row in rows] == [0.5] * 3 + [None] * 3 + [-1.0] * 3
    assert [row["chosen_weights"] for row in rows] == [spans] * 3 + [None] * 3 + [spans] * 3
    assert [row["rejected_weights"] for row in rows] == [spans] * 3 + [None] * 6
    report = json.loads((tmp_path / "run/report.json").read_text())
    assert "hardness is empty in 3 of 9 pairs, which methods of training that read it skip." in report["warnings"]
    _, again = build(tmp_path / "again", source=str(tmp_path / "run"))
    for name in weights:
        assert [row[name] for row in again] == [row[name] for row in rows]
    _, back = build(tmp_path / "back", source=parts[2], method="reversed")
    assert {row["hardness"] for row in back} == {1.0}
    assert [row["rejected_weights"] for row in back] == [spans] * 3
    assert "chosen_weights" not in back[0]
    _, other = build(tmp_path / "other", source=parts[0], method="reverse", model="m")
    assert not {*weights} & {*other[0]}, "they say nothing of the method's answers"


@pytest.mark.parametrize("method", ["mix", "reversed"])
def test_of_kept_pairs_nobody_says_which_are_resolved(tmp_path: Path, png: bytes, method: str) -> None:
    """Above which similarity they are not is a setting of the method that made them."""
    made = {"source_id": "x/train/0", "method": "bdhs", "similarity": 0.99, "iterations": 2}
    build(tmp_path / "run", source=pairs(tmp_path / "in", "a", png, **made), method=method)
    report = json.loads((tmp_path / "run/report.json").read_text())
    assert (report["rows"], report["resolved"], report["similarity"]["max"]) == (3, [], 0.99)
    build(tmp_path / "plain", source=pairs(tmp_path / "in", "b", png), method=method)
    [entry] = json.loads((tmp_path / "plain/report.json").read_text())["resolved"]
    assert entry["share_of_pairs"] == 1


def test_what_another_calls_so_is_not_how_our_pairs_were_made(tmp_path: Path, png: bytes) -> None:
    theirs = {"method": "human", "similarity": 3.5, "iterations": 0}
    own = {**theirs, "source_id": "x/train/0"}
    for name, more in (("a", theirs), ("b", own)):
        rows = build(tmp_path / name, source=pairs(tmp_path / "in", name, png, **more))[1]
        assert {(row["method"], row["similarity"], row["iterations"]) for row in rows} == {("mix", None, 1)}
