"""Sets that came with methods after the paper: each builds from files of its true shape, and their rows train."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from mmpref.cli.main import program
from mmpref.data.builders import hsa_dpo

from . import released
from .shapes import BAD, GOOD, QUESTION
from .test_published import Built

MODEL = "pkg:mmpref.testbed/model"


@dataclass(frozen=True)
class Case:
    """Who writes the set's files; rows and skips of a build; further options; the method, where it is not the name."""

    write: Callable[[Path], None]
    rows: int
    skipped: dict[str, int]
    options: tuple[str, ...] = ()
    method: str | None = None


VISUAL_GENOME = ("--image-root", "{folder}/vg/VG_100K", "--image-root", "{folder}/vg/VG_100K_2")
CASES = {
    "hsa-dpo": Case(released.hsa_dpo, 2, {"empty-answer": 1, "missing-image": 1}, ("--image-root", "{folder}/images")),
    "mdpo": Case(released.mdpo, 2, {"missing-image": 1}),
    "symmpo": Case(released.symmpo, 3, {"no-rejected": 1}),
    "mm-rlhf": Case(released.mm_rlhf, 2, {"no-image": 1}),
    "chair-dpo": Case(
        released.chair_dpo,
        2,
        {"no-objects": 1, "tie": 1},
        (
            *("--image-root", "{folder}/images"),
            *("--set", "builder.detections={folder}/detections.json"),
            *("--set", "builder.synonyms={folder}/synonyms.txt"),
        ),
    ),
    "mmpr": Case(released.mmpr, 3, {"image-placement": 1, "no-image": 2}),
    "mmpr-unpacked": Case(released.mmpr_unpacked, 3, {"image-placement": 1, "no-image": 2}, method="mmpr"),
    "sentinel-pairs": Case(released.sentinel, 3, {"empty-answer": 1, "missing-image": 1}, VISUAL_GENOME),
    "sentinel-of-qwen": Case(released.sentinel_of_qwen, 2, {}, VISUAL_GENOME, "sentinel-pairs"),
    "opa-dpo": Case(released.opa_dpo, 1, {"no-correction": 2, "repeats-itself": 2}),
    "opa-dpo-saved": Case(released.opa_dpo_saved, 2, {}, method="opa-dpo"),
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Built]:
    place, made = tmp_path_factory.mktemp("released"), {}
    for name, case in CASES.items():
        folder, output = place / name, place / f"{name}-run"
        folder.mkdir()
        case.write(folder)
        options = [option.format(folder=folder) for option in case.options]
        words = ["--method", case.method or name, "--source", str(folder), "--output", str(output), "--json", *options]
        done = CliRunner().invoke(program, ["build-dataset", *words])
        assert done.exit_code == 0, (name, done.output, done.exception)
        made[name] = Built(output, json.loads(done.stdout))
    return made


@pytest.mark.parametrize("name", CASES)
def test_a_set_builds(built: dict[str, Built], name: str) -> None:
    made, case = built[name], CASES[name]
    assert (made.manifest["counts"]["rows"], made.manifest["counts"]["skipped"]) == (case.rows, case.skipped)
    for row in made.rows:
        assert row["method"] == (case.method or name)
        assert row["prompt"][0] == {"role": "user", "content": QUESTION}
        assert row["chosen"][0]["content"] != row["rejected"][0]["content"]
        assert all(image["bytes"] for image in row["images"])


def test_all_rows_train_two_steps(built: dict[str, Built], tmp_path: Path) -> None:
    from mmpref.align.recipe import LoraSettings, TrainRecipe
    from mmpref.align.train import train

    rows = [made.manifest["counts"]["rows"] for made in built.values()]
    trainer = {"max_steps": 2, "per_device_train_batch_size": sum(rows), "gradient_accumulation_steps": 1}
    data = tuple(str(made.path) for made in built.values())
    done = train(TrainRecipe(MODEL, data, lora=LoraSettings(2, 4, 0.0), trainer=trainer), tmp_path / "run")
    assert [source["rows"] for source in done["datasets"]] == rows
    assert done["final"]["loss"] == pytest.approx(0.693, abs=0.05)


def _texts(made: Built) -> list[tuple[str, str]]:
    return [(row["chosen"][0]["content"], row["rejected"][0]["content"]) for row in made.rows]


def test_images_are_those_of_the_pair(built: dict[str, Built]) -> None:
    assert [row["images"][0]["path"] for row in built["hsa-dpo"].rows] == ["0.jpg", "1.jpg"]
    names = [(row["id"], row["images"][0]["path"]) for row in built["symmpo"].rows]
    assert [name for name, _ in names] == ["17-1", "17-2", "18-1"]
    first, second, third = (row["images"][0]["bytes"] for row in built["symmpo"].rows)
    assert first == third != second
    assert _texts(built["symmpo"])[:2] == [(f"{GOOD} 1", f"{BAD} 1"), (f"{GOOD} 2", f"{BAD} 2")]


def test_the_severity_of_mistakes_goes_along() -> None:
    [pair] = hsa_dpo.read({"id": 3, "question": QUESTION, "chosen": GOOD, "rejected": BAD, "rejected_score": 2.5})
    assert (pair["id"], pair["image"], pair["severity"]) == ("3", "3.jpg", 2.5)


def test_a_rendered_prompt_is_a_question_again(built: dict[str, Built]) -> None:
    assert built["mdpo"].manifest["counts"]["changed"]["template_removed"] == 2
    assert {len(row["prompt"]) for row in built["mdpo"].rows} == {1}


def test_detections_rank_answers(built: dict[str, Built]) -> None:
    first, second = built["chair-dpo"].rows
    assert _texts(built["chair-dpo"]) == [(GOOD, BAD), ("A cup.", "A cat and a cup.")]
    assert (first["margin"], second["margin"]) == (pytest.approx(1 / 3), pytest.approx(1 / 2))
    assert [turn["role"] for turn in second["prompt"]] == ["user", "assistant", "user"]


def test_chair_dpo_says_what_it_ranks_by(tmp_path: Path) -> None:
    done = CliRunner().invoke(program, ["build-dataset", "--method", "chair-dpo", "--output", str(tmp_path / "run")])
    assert "ranked by detections and a table of synonyms" in str(done.exception)


def test_corrections_are_preferred(built: dict[str, Built]) -> None:
    assert _texts(built["opa-dpo"]) == _texts(built["opa-dpo-saved"])[:1] == [(GOOD, BAD)]


def test_an_archive_of_annotations_reads_as_its_files_do(built: dict[str, Built]) -> None:
    packed, unpacked = built["mmpr"], built["mmpr-unpacked"]
    for name in ("id", "prompt", "chosen", "rejected", "source"):
        assert [row[name] for row in packed.rows] == [row[name] for row in unpacked.rows]
    assert [row["source"] for row in packed.rows] == ["m3cot_pairs_vqa_correctness_rules"] * 2 + ["several_pairs"]
    assert [len(row["images"]) for row in packed.rows] == [1, 1, 2]
    assert packed.manifest["source"]["fingerprint"] != unpacked.manifest["source"]["fingerprint"]


def test_sentences_continue_their_context(built: dict[str, Built]) -> None:
    for name, contexts in (("sentinel-pairs", [True, False, False]), ("sentinel-of-qwen", [True, False])):
        rows = built[name].rows
        for row, continues in zip(rows, contexts, strict=True):
            assert [turn["content"] for turn in row["prompt"][1:]] == [released.CONTEXT] * continues
            space = " " * continues
            assert (row["chosen"][0]["content"], row["rejected"][0]["content"]) == (space + GOOD, space + BAD)
    assert [row["id"].split("#")[0] for row in built["sentinel-pairs"].rows] == ["2417997", "2417997", "2382741"]
