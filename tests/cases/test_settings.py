"""Cases 18, 28 and 31: licences on cards, recipes, and addresses pasted from a browser."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from mmpref.errors import HubError
from mmpref.hub.publish_run import publish_run
from tests.hub_fixtures import HubAccount

from .commands import HERE, MODEL, SMALL, done, refused


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("name", ["c12_licence_one", "c12_licence_list"])
def test_a_closed_licence_is_seen_however_its_card_is_written(
    name: str, mark: bytes, hub: HubAccount, tmp_path: Path
) -> None:
    source = Path(shutil.copytree(HERE / "licences" / name, tmp_path / "set", copy_function=shutil.copyfile))
    card = source / "README.md"
    card.write_bytes(mark + card.read_bytes())
    done("build-dataset", "--method", "mix", "--source", source, "--output", tmp_path / "run")
    where: dict[str, Any] = {"token": hub.token, "endpoint": hub.endpoint}
    with pytest.raises(HubError, match=r"cc-by-nc-nd-4\.0"):
        publish_run(tmp_path / "run", f"{hub.name}/set", **where)
    assert ("dataset", f"{hub.name}/set") not in hub.hub.store.repos


@pytest.mark.parametrize("name", ["c17_recipe.yaml", "c17_recipe_bom.yaml"])
def test_a_learning_rate_is_the_number_that_it_says(name: str, tmp_path: Path) -> None:
    found = done(
        "train",
        "--recipe",
        HERE / "recipes" / name,
        "--model",
        MODEL,
        "--dataset",
        HERE / "rows/c07_implicit.jsonl",
        *SMALL,
        "--output",
        tmp_path / "run",
    )
    assert found["recipe"]["trainer"]["learning_rate"] == 5e-6


@pytest.mark.parametrize("command", ["evaluate", "train", "build-dataset"])
def test_a_pasted_address_of_a_model_is_told_its_id(command: str, tmp_path: Path) -> None:
    """Where it names a revision, which the id alone would lose; without one it stands for the id."""
    said = refused(
        command,
        "--model",
        "https://huggingface.co/alice/merged/tree/v2",
        "--output",
        tmp_path / "run",
        *(("--source", "testbed") if command == "build-dataset" else ()),
        *(("--dataset", HERE / "rows/c07_implicit.jsonl") if command == "train" else ()),
    )
    assert "alice/merged" in said
    assert "v2" in said
