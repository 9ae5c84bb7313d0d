"""The tables: columns, sizes, what is true in them, and POPE's procedure."""

from __future__ import annotations

import io
import itertools
import json
import re
from collections import Counter
from importlib import import_module
from pkgutil import iter_modules

import pytest
from PIL import Image

import mmpref.testbed.tables
from mmpref.bench.scoring import amber
from mmpref.testbed.language import CAPTION_PROMPTS, KIND_FIRST_RATE, ask_is_in
from mmpref.testbed.oracle import is_caption, judge, mentions, scene_of
from mmpref.testbed.render import SIDE, cell
from mmpref.testbed.tables import (
    testbed,
    testbed_amber,
    testbed_chair,
    testbed_hallusionbench,
    testbed_mme,
    testbed_mmstar,
    testbed_pairs,
    testbed_pope,
    testbed_several,
    testbed_several_chair,
    testbed_textvqa,
)
from mmpref.testbed.things import KINDS, THINGS
from mmpref.testbed.world import ROWS, Scene, absent, members, scene, statistics, tempting

from .conftest import ROOT

TABLES = [
    import_module(f"{mmpref.testbed.tables.__name__}.{module.name}")
    for module in iter_modules(mmpref.testbed.tables.__path__)
]
SENTENCES = ("completion", "fullAnswer", "gpt_answer", "caption", "chosen")
"""Columns of sentences that are true of their scene."""


def first(table, split: str, count: int = 16) -> list[dict]:
    return list(itertools.islice(table.rows(split), count))


def text_of(cell) -> str:
    return cell[0]["content"] if isinstance(cell, list) else cell


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.__name__.rpartition(".")[2])
def test_rows_repeat_images_open_and_sentences_are_true(table):
    for split in table.SPLITS:
        rows = first(table, split)
        assert rows == first(table, split)
        assert len({tuple(row) for row in rows}) == 1
        for row in rows:
            image = row.get("image") or (row["images"][0] if "images" in row else None)
            if isinstance(image, dict):
                picture = Image.open(io.BytesIO(image["bytes"]))
                shown = (picture.format, picture.size, picture.mode, image["path"])
                assert shown == ("PNG", (SIDE, SIDE), "RGB", None)
            ids = (row.get(name) for name in ("id", "image_id", "imageId", "image_source", "question_id"))
            known = [value for value in ids if re.fullmatch(r"[a-z]+-\d{5}", str(value))]
            for column in SENTENCES if known else ():
                if column in row:
                    text = text_of(row[column])
                    verdict = judge(text, scene_of(known[0]))
                    assert not verdict.false_claims
                    assert not verdict.hallucinated
                    assert verdict.claims or len(text.split()) <= 2, "whole sentences claim something"
    with pytest.raises(KeyError):
        next(iter(table.rows("validation")))


def test_the_sft_set_mixes_captions_and_questions_of_all_kinds():
    asked: Counter[str] = Counter()
    turns = [testbed.turn(scene("train", index)) for index in range(testbed.SIZES["train"])]
    rows = first(testbed, "train")
    assert [(text_of(row["prompt"]), text_of(row["completion"])) for row in rows] == turns[: len(rows)]
    for row in rows:
        assert set(row) == {"images", "prompt", "completion", "id"}
        assert [m["role"] for m in row["prompt"] + row["completion"]] == ["user", "assistant"]
        assert "<image>" not in row["prompt"][0]["content"]
    for prompt, answer in turns:
        caption = prompt in CAPTION_PROMPTS
        assert is_caption(answer) == caption
        asked["caption" if caption else " ".join(prompt.split()[:2])] += 1
    assert 0.55 < asked["caption"] / len(turns) < 0.65
    assert set(asked) == {"caption", "Is there", "Where is", "What is", "Is the", "How many", "What kind"}
    yes_no = Counter(answer[:2] for prompt, answer in turns if prompt.startswith("Is "))
    assert 0.8 < yes_no["Ye"] / yes_no["No"] < 1.25
    captions = [answer for prompt, answer in turns if prompt in CAPTION_PROMPTS]
    starts = sum(answer.startswith("This is") for answer in captions) / len(captions)
    assert starts == pytest.approx(KIND_FIRST_RATE, abs=0.05), "what is drawn for rows does not choose among captions"


def test_pope_asks_as_pope_does():
    rows = list(testbed_pope.rows("dev"))
    columns = ["question_id", "question", "answer", "image", "category", "image_source", "id"]
    assert all(list(row) == columns for row in rows[:5])
    assert len({row["id"] for row in rows}) == len(rows)
    by_category = {c: [row for row in rows if row["category"] == c] for c in testbed_pope.CATEGORIES}
    assert len({len(part) for part in by_category.values()}) == 1
    yes = [[(r["image_source"], r["question"]) for r in part if r["answer"] == "yes"] for part in by_category.values()]
    assert yes[0] == yes[1] == yes[2]
    assert len(yes[0]) * 2 == len(by_category["random"])
    for row in rows:
        [name] = mentions(row["question"])
        assert row["question"] in (f"Is there a {name} in the image?", f"Is there an {name} in the image?")
        assert (name in scene_of(row["image_source"]).names) == (row["answer"] == "yes")


def test_adversarial_asks_for_what_comes_with_the_scene_and_popular_for_frequent_things():
    single, pairs = statistics()
    for index in range(50):
        truth = scene("dev", index)
        chance = absent(truth)
        popular = testbed_pope.ordered(truth, "popular", chance)
        assert [single[name] for name in popular] == sorted((single[name] for name in chance), reverse=True)
        company = [
            sum(pairs[present, name] for present in truth.names)
            for name in testbed_pope.ordered(truth, "adversarial", chance)
        ]
        assert company == sorted(company, reverse=True)
    asked = {
        category: sum(
            name in KINDS[scene("usual", index).kind]
            for index in range(50)
            for name in testbed_pope.ordered(scene("usual", index), category, absent(scene("usual", index)))[:2]
        )
        for category in testbed_pope.CATEGORIES
    }
    assert asked["adversarial"] > 80 > 30 > asked["random"], "where the prior holds, company is what is usual"


def test_chair_names_what_is_there_and_what_is_usual():
    assert set(testbed_chair.SIZES) == set(testbed_chair.SPLITS)
    for split in testbed_chair.SPLITS:
        for row in first(testbed_chair, split):
            truth = scene_of(row["question_id"])
            assert truth.split == split
            assert tuple(row["gt_object"]) == truth.names
            assert tuple(row["usual"]) == truth.usual


def test_of_two_pictures_the_one_that_is_asked_about_is_described():
    pictures = {split: set() for split in testbed_several.SPLITS}
    for split in testbed_several.SPLITS:
        for index, row in enumerate(itertools.islice(testbed_several.rows(split), 60)):
            [asked], [answer] = row["prompt"], row["completion"]
            alone = split == "train" and index % 3 == 0
            assert len(row["images"]) == 2 - alone
            assert asked["content"] == (CAPTION_PROMPTS[0] if alone else testbed_several.PROMPTS[index % 2])
            scenes = _several_scenes(split, index)
            assert not judge(answer["content"], scenes[0 if alone else index % 2]).false_claims
            assert [Image.open(io.BytesIO(image["bytes"])).tobytes() for image in row["images"]] == [
                Image.open(io.BytesIO(cell(truth)["bytes"])).tobytes() for truth in scenes[: len(row["images"])]
            ]
            pictures[split] |= {image["bytes"] for image in row["images"]}
    assert not pictures["train"] & pictures["fresh"]
    for index, row in enumerate(itertools.islice(testbed_several_chair.rows("test"), 20)):
        truth = (scene("test", index), scene("test", 40_000 + index))[index % 2]
        assert (row["gt_object"], row["usual"]) == ([*truth.names], [*truth.usual])
        assert row["prompt"] == testbed_several.PROMPTS[index % 2]


def _several_scenes(split: str, index: int) -> tuple[Scene, Scene]:
    first = index + (30_000 if split == "fresh" else 0)
    return scene("train", first), scene("train", 40_000 + first)


def test_the_word_tables_have_every_thing():
    assert (ROOT / "synonyms.txt").read_text(encoding="utf-8").splitlines() == list(THINGS)
    relation = json.loads((ROOT / "amber_relation.json").read_text(encoding="utf-8"))
    assert list(relation) == list(THINGS)
    assert {name for name in THINGS if " " in name} == {name for name, words in relation.items() if words}
    assert all(set(words) <= set(name.split()) for name, words in relation.items())


def test_two_word_things_are_found_by_ambers_rule():
    tables = amber.Tables.read(str(ROOT / "amber_relation.json"), None)
    for name in THINGS:
        text = f"There is a {name} at the back. This is a street."
        found = amber.count(amber.nouns(text, tables), [name], [], tables)
        assert (found["covered"], found["hallucinated"]) == (1, 0), name
        wrong = amber.count(amber.nouns(text, tables), ["cup" if name != "cup" else "egg"], [name], tables)
        assert wrong["hallucinated"] == len(amber.nouns(text, tables)) == (2 if name == "hot dog" else 1)
        assert wrong["conjured"] == 1


def test_a_rejected_caption_says_one_thing_that_is_usual_and_not_there():
    for index, row in enumerate(first(testbed_pairs, "test", 40)):
        truth = scene("test", index)
        chosen, rejected = text_of(row["chosen"]), text_of(row["rejected"])
        verdict = judge(rejected, truth)
        assert not judge(chosen, truth).false_claims
        assert is_caption(rejected)
        assert len(verdict.typical) == len(verdict.hallucinated) == len(verdict.false_claims) == 1


def test_mme_and_hallusionbench_ask_each_question_with_both_answers():
    for one, two in itertools.pairwise(first(testbed_mme, "dev", 40)):
        if one["question_id"] == two["question_id"]:
            assert (one["answer"], two["answer"]) == ("Yes", "No")
    sets = 20
    rows = [*first(testbed_hallusionbench, "image", 3 * sets), *first(testbed_hallusionbench, "non_image", sets)]
    answers: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        answers.setdefault((row["set_id"], row["question"]), []).append(row["gt_answer"])
        assert (row["image"] is None) == (row["visual_input"] == "0")
        assert row["gt_answer_details"].startswith("Yes" if row["gt_answer"] == "1" else "No")
    assert len(answers) == 2 * sets
    assert all(sorted(given) == ["0", "1"] for given in answers.values())


def test_textvqa_and_mmstar_are_about_the_same_rows_things():
    for row in first(testbed_textvqa, "dev", 40):
        truth = scene_of(row["image_id"])
        thing, other = (next(one for one in truth.things if one.name == name) for name in row["ocr_tokens"])
        assert row["question"].startswith(f"What is on the {thing.side} ")
        assert (thing.row, thing.side != other.side) == (other.row, True)
        assert sum(thing.name in answer.lower() for answer in row["answers"]) == 8
    for row in first(testbed_mmstar, "dev", 40):
        options = dict(re.findall(r"([A-D]): ([a-z ]+)", row["question"]))
        right = options[row["answer"]]
        assert len(set(options.values())) == 4
        assert set(options.values()) <= set(members(right))
        assert right in scene("dev", row["index"]).names


def test_what_amber_says_people_imagine_is_not_there():
    for row in first(testbed_amber, "test", 30):
        truth = scene_of(row["image_id"])
        if row["type"] == "generative":
            assert (tuple(row["truth"]), row["hallu"]) == (truth.names, tempting(truth))
        elif row["type"] == "discriminative-hallucination":
            [name] = mentions(row["query"])
            assert row["truth"] == ("yes" if name in truth.names else "no")
        else:
            [question] = [q for q in (ask_is_in(t, w) for t in truth.things for w in ROWS) if q.text == row["query"]]
            assert row["truth"] == question.word.lower()
