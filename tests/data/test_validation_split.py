"""A validation split: no image on both sides, whatever the order of rows, shards and restarts."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mmpref.cli.inspect import command as inspect
from mmpref.data.build import build_dataset
from mmpref.data.recipe import BuildRecipe
from mmpref.data.validation_split import image_keys, validation_mask
from mmpref.errors import InputError, UsageError
from mmpref.hub.cards.dataset import write_dataset_card
from mmpref.hub.publish_run import publish_run
from mmpref.types import ImageData
from tests.hub_fixtures import HubAccount

ROWS = st.lists(st.lists(st.sampled_from("abcdefghijklmnop"), min_size=1, max_size=3, unique=True), max_size=25)


@given(ROWS, st.integers(0, 5))
def test_no_key_is_on_both_sides_and_order_does_not_matter(rows: list[list[str]], seed: int) -> None:
    held = validation_mask(rows, 0.4, seed)
    sides = [
        {key for row, side in zip(rows, held, strict=True) if side is wanted for key in row} for wanted in (True, False)
    ]
    assert not sides[0] & sides[1]
    backwards = validation_mask([row[::-1] for row in rows[::-1]], 0.4, seed)
    assert backwards[::-1] == held


def test_about_the_share_is_held_out() -> None:
    rows = [[str(number)] for number in range(5000)]
    assert 0.08 < sum(validation_mask(rows, 0.1, 0)) / 5000 < 0.12
    assert validation_mask(rows, 0.1, 0) != validation_mask(rows, 0.1, 1)


def test_coco_names_of_both_years_are_one_image() -> None:
    old = ImageData(b"a", "coco/train2014/COCO_train2014_000000000009.jpg")
    new = ImageData(b"b", "000000000009.jpg")
    assert set(image_keys([old])) & set(image_keys([new])) == {"coco-9"}
    assert not set(image_keys([old])) & set(image_keys([ImageData(b"b", "other.jpg")]))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """60 pairs over 20 images; every fifth row shows a second image too."""
    folder = tmp_path / "source"
    folder.mkdir()
    for number in range(20):
        buffer = io.BytesIO()
        Image.new("RGB", (8, 8), (number * 10, 0, 0)).save(buffer, "PNG")
        (folder / f"{number}.png").write_bytes(buffer.getvalue())
    rows = [
        {
            "images": [f"{number % 20}.png"] + ([f"{(number + 1) % 20}.png"] if number % 15 == 0 else []),
            "prompt": f"Question {number}?",
            "chosen": "Yes.",
            "rejected": "No.",
        }
        for number in range(60)
    ]
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def images_of(folder: Path, split: str) -> set[str]:
    rows = datasets.load_dataset(str(folder), split=split).cast_column(
        "images", datasets.List(datasets.Image(decode=False))
    )
    return {hashlib.sha256(image["bytes"]).hexdigest() for row in rows for image in row["images"]}


def test_a_dataset_has_two_splits_that_share_no_image(
    source: Path, tmp_path: Path, hub: HubAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    from click.testing import CliRunner

    recipe = BuildRecipe(None, str(source), "mix", validation=0.3, block_size=16)
    manifest = build_dataset(recipe, tmp_path / "run", write_card=write_dataset_card)
    for index in (2, 0, 1):
        build_dataset(recipe, tmp_path / "shards", shard=(index, 3), write_card=write_dataset_card)
    whole, shards = (
        {file.name: file.read_bytes() for file in (tmp_path / name / "data").iterdir()} for name in ("run", "shards")
    )
    assert whole == shards
    splits = manifest["splits"]
    assert sum(splits.values()) == manifest["counts"]["rows"] == 60
    assert 5 < splits["validation"] < 35
    loaded = {split: datasets.load_dataset(str(tmp_path / "run"), split=split) for split in splits}
    assert {split: len(rows) for split, rows in loaded.items()} == splits
    train, validation = (images_of(tmp_path / "run", split) for split in ("train", "validation"))
    assert not train & validation
    assert len(train | validation) == 20
    assert json.loads((tmp_path / "run/report.json").read_text())["rows"] == 60
    card = (tmp_path / "run/README.md").read_text()
    assert f"<code>validation</code> ({splits['validation']})" in card
    assert "path: data/validation-*" in card
    found = CliRunner().invoke(inspect, [str(tmp_path / "run"), "--split", "validation", "--json"])
    assert json.loads(found.stdout)["rows"] == splits["validation"]
    publish_run(tmp_path / "run", f"{hub.name}/held", token=hub.token, endpoint=hub.endpoint)
    there = hub.hub.tree("dataset", f"{hub.name}/held")
    assert {"data/train-00000-of-00001.parquet", "data/validation-00000-of-00001.parquet"} <= set(there)


def test_the_pairs_of_one_row_stay_together(tmp_path: Path) -> None:
    """SymMPO's two pairs of a row are about two images; a set that is built of a built one keeps to that."""

    def pixels(number: int) -> bytes:
        noise, buffer = np.random.default_rng(number).integers(0, 256, (24, 24, 3), dtype=np.uint8), io.BytesIO()
        Image.fromarray(noise).save(buffer, "PNG")
        return buffer.getvalue()

    rows: list[dict[str, Any]] = [{"idx": str(number), "question": "What is there?"} for number in range(16)]
    for number, row in enumerate(rows):
        for side in (1, 2):
            row[f"image_{side}"] = {"bytes": pixels(2 * number + side), "path": None}
            row |= {f"resp_{side}_w": "A cup.", f"resp_{side}_l": "A saw."}
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "train.parquet")
    build_dataset(BuildRecipe(None, str(tmp_path / "train.parquet"), "symmpo", validation=0.5), tmp_path / "once")
    build_dataset(BuildRecipe(None, str(tmp_path / "train.parquet"), "symmpo"), tmp_path / "all")
    build_dataset(BuildRecipe(None, str(tmp_path / "all"), "mix", validation=0.5, seed=1), tmp_path / "twice")
    for run in ("once", "twice"):
        ids = [
            {id.partition("-")[0] for id in datasets.load_dataset(str(tmp_path / run), split=split)["id"]}
            for split in ("train", "validation")
        ]
        assert not ids[0] & ids[1], run
        assert len(ids[0] | ids[1]) == 16


@pytest.mark.parametrize("share", [0.0, 1.0, 1.5])
def test_a_share_must_leave_something(share: float, source: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="share between 0 and 1"):
        build_dataset(BuildRecipe(None, str(source), "mix", validation=share), tmp_path / "run")


def test_too_few_rows_are_an_error(source: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="of 1 row would be held out"):
        build_dataset(BuildRecipe(None, str(source), "mix", validation=0.5, limit=1), tmp_path / "run")
