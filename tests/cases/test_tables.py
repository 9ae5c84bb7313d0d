"""Cases 1 to 7 and 20 to 25: rows, images and containers, as `build-dataset`, `train` and `inspect` read them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from mmpref.align.preference_data import collect_pairs
from mmpref.data.sources import Source
from mmpref.images import decode_noting
from mmpref.tables.open import open_table
from mmpref.types import Example, ImageData, Skip
from tests.vlm.tiny import tiny

from .commands import HERE, MODEL, SMALL, done, refused

ROWS, IMAGES = HERE / "rows", HERE / "images"
S0 = (ROWS / "img/s0.png").read_bytes()


def read(file: str, pairs: bool = False) -> list[Example | Skip]:
    source = Source(open_table(str(ROWS / file)), pairs=pairs)
    return [one for _, block in source.blocks(8, lambda _: True) for one in block]


@pytest.mark.parametrize(
    "file",
    [
        "c01_qwen_parts.jsonl",
        "c01_openai_parts.jsonl",
        "c02_base64.jsonl",
        "c02_datauri.jsonl",
        "c02_fileuri.jsonl",
        "c03_swift.jsonl",
        "c04_cauldron.jsonl",
        "c05_lf_dpo.jsonl",
        "c06_backslash.jsonl",
    ],
)
def test_the_picture_is_read_wherever_it_stands(file: str) -> None:
    [example] = read(file)
    assert isinstance(example, Example), example
    assert [decode_noting(image)[0].size for image in example.images] == [(64, 64)]


def test_an_address_is_said_not_to_be_fetched(tmp_path: Path) -> None:
    said = refused(
        "build-dataset", "--method", "mismatched", "--source", ROWS / "c02_url.jsonl", "--output", tmp_path / "run"
    )
    assert "image-url: 1" in said
    assert "Row 1: the image 'https://images.example.org/a/s0.png' is on another machine" in said
    assert len(said) < 600


def test_a_single_row_has_no_partner(tmp_path: Path) -> None:
    said = refused(
        "build-dataset",
        "--method",
        "mismatched",
        "--source",
        ROWS / "c01_qwen_parts.jsonl",
        "--output",
        tmp_path / "run",
    )
    assert said.endswith("(no-partner: 1). Row 0: no row beside it has another answer, about another picture.")


@pytest.mark.parametrize(
    ("file", "pairs"),
    [
        ("c03_swift.jsonl", 1),
        ("c03_swift_messages.jsonl", 1),
        ("c05_lf_dpo.jsonl", 1),
        ("c07_implicit.jsonl", 4),
        ("c16/absolute_pairs.jsonl", 4),
        ("c16/prompt_with_placeholder.jsonl", 4),
    ],
)
def test_pairs_of_other_tools_are_pairs_to_all_three(file: str, pairs: int, tmp_path: Path) -> None:
    built = done("build-dataset", "--method", "mix", "--source", ROWS / file, "--output", tmp_path / "built")
    assert (built["counts"]["rows"], built["counts"]["skipped"]) == (pairs, {})
    assert done("inspect", ROWS / file)["problems"] == {}
    (tmp_path / "trained").mkdir()
    read_ = collect_pairs([open_table(str(ROWS / file))], tmp_path / "trained", image_token="<image>")
    assert (len(read_.dataset), read_.skipped) == (pairs, {})
    [shard] = (tmp_path / "built").rglob("*.parquet")
    for one, other in zip(pq.read_table(shard).to_pylist(), read_.dataset, strict=True):
        assert all(one[name] == other[name] for name in ("prompt", "chosen", "rejected"))


@pytest.mark.parametrize(
    ("file", "read", "skipped", "changed"),
    [
        ("c16/absolute_sft.jsonl", 2, {}, {"image_paths_shortened": 2}),
        ("c16/gpt_first.jsonl", 2, {}, {"opening_turns_dropped": 2}),
        ("c16/sys_tool.jsonl", 2, {}, None),
        ("c16/parts_null.jsonl", 4, {}, None),
        ("c16/several_images.jsonl", 6, {"image-placement": 1}, None),
        ("c16/nan.jsonl", 2, {"empty-answer": 1, "empty-prompt": 1}, None),
        ("c15/struct_of_lists.parquet", 2, {}, None),
        ("c15/raw_bytes_same_ids.parquet", 2, {}, None),
        ("c15/csv/data.csv", 2, {}, None),
        ("c15/csv/rows.jsonl.gz", 2, {}, None),
        ("c15/csv/bom_crlf.jsonl", 2, {}, None),
        ("c15/folder_csv", 2, {}, None),
        ("c15/folder_jsonl", 2, {}, None),
        ("c15/saved", 2, {}, None),
        ("c15/web", 2, {}, None),
        ("c15/web/train-0000.tar", 2, {}, None),
        ("c15/saved/data-00000-of-00001.arrow", 2, {}, None),
    ],
)
def test_a_build_counts_what_it_skips_and_changes(
    file: str, read: int, skipped: dict[str, int], changed: dict[str, int] | None, tmp_path: Path
) -> None:
    found = done("build-dataset", "--method", "mismatched", "--source", ROWS / file, "--output", tmp_path / "run")
    expected: dict[str, Any] = {"rows": read, "skipped": skipped} | ({"changed": changed} if changed else {})
    assert found["counts"] == expected
    [shard] = (tmp_path / "run").rglob("*.parquet")
    said = [
        row[name][-1]["content"]
        for row in pq.read_table(shard).to_pylist()
        for name in ("prompt", "chosen", "rejected")
    ]
    assert "nan" not in said


def test_utf_16_is_read() -> None:
    [example] = read("c16/utf16.jsonl")
    assert isinstance(example, Example)


@pytest.mark.parametrize("file", ["c15/answer_list.parquet", "c15/answers_list.parquet"])
def test_several_answers_in_one_cell_are_told(file: str) -> None:
    skip, kept = read(file)
    assert isinstance(kept, Example)
    assert isinstance(skip, Skip)
    assert (skip.reason, skip.detail.partition(" ")[2]) == ("malformed", "is a list of 2 texts; one is read a row")


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("c15/csv", "several formats, such as bom_crlf.jsonl, data.csv. Name one file."),
    ],
)
def test_containers_that_are_not_read_say_what_to_name(file: str, said: str, tmp_path: Path) -> None:
    assert said in refused("build-dataset", "--method", "mix", "--source", ROWS / file, "--output", tmp_path / "run")


BRIGHTNESS = {
    "gray16.png": 127.5,
    "gray16.tif": 127.5,
    "gray12in16.png": 127.5,
    "rgba_black_on_clear.png": 195.2,
    "palette.png": 212.4,
    "palette_t.png": 228.1,
    "bilevel.png": 217.5,
    "cmyk.jpg": 212.4,
    "anim.gif": 212.4,
    "anim.webp": 212.1,
    "exif6.jpg": 66.7,
    "exif_cut.jpg": 212.3,
    "exif_junk.jpg": 212.3,
    "ok.bmp": 212.4,
    "ok.ppm": 212.4,
    "h1.png": 73.3,
    "w1.png": 73.3,
    "p1.png": 73.3,
}
SIZES = {"exif6.jpg": (40, 80), "h1.png": (400, 1), "w1.png": (1, 400), "p1.png": (1, 1)}


@pytest.mark.parametrize("name", BRIGHTNESS)
def test_no_mode_of_an_image_is_seen_as_black_or_white(name: str) -> None:
    picture, _ = decode_noting(ImageData((IMAGES / name).read_bytes(), name))
    assert (picture.mode, picture.size) == ("RGB", SIZES.get(name, (64, 64)))
    assert abs(np.asarray(picture).mean() - BRIGHTNESS[name]) < 1


def test_a_build_of_all_modes(tmp_path: Path) -> None:
    found = done(
        "build-dataset", "--method", "mismatched", "--source", IMAGES / "rows.jsonl", "--output", tmp_path / "run"
    )
    assert found["counts"] == {
        "rows": 18,
        "skipped": {"bad-image": 1},
        "changed": {"16-bit_images": 3, "transparent_images": 2},
    }


def strips(folder: Path) -> Path:
    """Pairs on the extreme shapes, and one on an ordinary picture."""
    pair = {"prompt": "What is it?", "chosen": "A cup.", "rejected": "A dog."}
    names = ("h1.png", "w1.png", "p1.png", "cmyk.jpg")
    for name in names:
        shutil.copyfile(IMAGES / name, folder / name)
    (folder / "rows.jsonl").write_text("".join(json.dumps({**pair, "images": [name]}) + "\n" for name in names))
    return folder / "rows.jsonl"


def test_shapes_that_a_processor_refuses_are_skipped_before_training(tmp_path: Path) -> None:
    """Qwen2-VL's takes none longer than 200 to 1."""
    file = strips(tmp_path)
    accepts = tiny("qwen2_vl").prompter.prepare
    (tmp_path / "run").mkdir()
    found = collect_pairs([open_table(str(file))], tmp_path / "run", image_token="<|image_pad|>", accepts=accepts)
    assert (len(found.dataset), found.skipped) == (2, {"bad-image": 2})
    assert "an image of 400 x 1 pixels is none for this model" in found.skips["bad-image"][0]["detail"]


def test_shapes_that_a_processor_takes_train(tmp_path: Path) -> None:
    found = done("train", "--model", MODEL, "--dataset", strips(tmp_path), *SMALL, "--output", tmp_path / "run")
    assert found["counts"] == {"rows": 4, "skipped": {}}


def test_several_images_a_row_train_and_nothing_is_cut(tmp_path: Path) -> None:
    train = (
        "train",
        "--model",
        MODEL,
        "--dataset",
        ROWS / "c16/several_images.jsonl",
        *SMALL,
        "--output",
        tmp_path / "run",
    )
    assert "nothing is cut" in refused(*train, "--set", "trainer.max_length=60")
    assert done(*train)["counts"] == {"rows": 6, "skipped": {"image-placement": 1}}


def test_an_online_method_takes_several_images_a_row(tmp_path: Path) -> None:
    found = done(
        "train",
        "--method",
        "online-bdhs",
        "--model",
        MODEL,
        "--dataset",
        ROWS / "c16/several_images.jsonl",
        *SMALL,
        "--set",
        "loss.bdhs.similarity_model=pkg:mmpref.testbed/embedder",
        "--output",
        tmp_path / "run",
    )
    assert found["steps"] == 2


def test_length_counts_words_of_any_script(tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (ROWS / "c14/rows.jsonl").read_text(encoding="utf-8").splitlines()]
    chinese = next(row["id"] for row in rows if "\u3002" in str(row["conversations"][-1]))
    done(
        "build-dataset",
        "--method",
        "mismatched",
        "--source",
        ROWS / "c14/rows.jsonl",
        "--where",
        "length >= 3",
        "--output",
        tmp_path / "run",
    )
    [shard] = (tmp_path / "run").rglob("*.parquet")
    assert chinese in [row["id"] for row in pq.read_table(shard).to_pylist()]
    assert done("inspect", tmp_path / "run")["problems"] == {}


def test_special_tokens_are_left_out_before_training(tmp_path: Path) -> None:
    """Pairs that were built without a model, which alone knows its tokens."""
    done(
        "build-dataset",
        "--method",
        "mismatched",
        "--source",
        ROWS / "c14/rows.jsonl",
        "--output",
        tmp_path / "pairs",
    )
    found = done("train", "--model", MODEL, "--dataset", tmp_path / "pairs", *SMALL, "--output", tmp_path / "run")
    assert found["counts"]["skipped"].keys() == {"special-token"}
