"""What licences let pass: warned, refused before any work, accepted by the user, and carried into the card."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from mmpref.errors import HubError
from mmpref.hub.cards import write_dataset_card
from mmpref.hub.licences import check_licences
from mmpref.hub.publish_run import publish_run
from tests.hub.runs import dataset_run
from tests.hub_fixtures import HubAccount


@pytest.mark.parametrize(
    ("licence", "outcome"),
    [
        ("apache-2.0", "fine"),
        ("CC-BY-4.0", "fine"),
        ("cc-by-sa-4.0", "fine"),
        ("llama2", "fine"),
        ("cc-by-nc-4.0", "non-commercial"),
        ("cc-by-nc-sa-4.0", "non-commercial"),
        ("fair-noncommercial-research-license", "non-commercial"),
        (None, "nobody says"),
        ("unknown", "nobody says"),
        ("cc-by-nd-4.0", "refused"),
        ("cc-by-nc-nd-4.0", "refused"),
        ("other", "refused"),
        ("our-own-terms", "refused"),
    ],
)
def test_what_a_licence_lets_pass(licence: str | None, outcome: str, caplog: pytest.LogCaptureFixture) -> None:
    source = {"id": "me/set", "licence": licence}
    with caplog.at_level(logging.WARNING, "mmpref"):
        if outcome == "refused":
            with pytest.raises(HubError, match="--accept-license"):
                check_licences(source, False)
            assert check_licences(source, True) == [f"me/set: {licence}"]
        else:
            assert check_licences(source, False) == []
    told = {"fine": "", "refused": "", "non-commercial": "commercially", "nobody says": "states no licence"}[outcome]
    assert told in caplog.text
    assert bool(caplog.text) == bool(told)


def test_every_source_of_a_union_counts() -> None:
    sources = [{"id": "a/free", "licence": "mit"}, {"id": "b/closed", "licence": "cc-by-nd-4.0"}]
    with pytest.raises(HubError, match=r"b/closed: cc-by-nd-4\.0"):
        check_licences({"id": "a/free + b/closed", "licence": None, "sources": sources}, False)


def closed(path: Path) -> Path:
    source = {"id": "me/closed", "split": "train", "revision": "0" * 40, "fingerprint": "x", "licence": "cc-by-nd-4.0"}
    write_dataset_card(path, dataset_run(path, source=source))
    return path


def test_a_finished_run_is_published_only_when_accepted(hub: HubAccount, tmp_path: Path) -> None:
    path = closed(tmp_path / "pairs")
    where: dict[str, Any] = {"token": hub.token, "endpoint": hub.endpoint}
    with pytest.raises(HubError, match="me/closed"):
        publish_run(path, f"{hub.name}/closed", **where)
    assert ("dataset", f"{hub.name}/closed") not in hub.hub.store.repos
    publish_run(path, f"{hub.name}/closed", accept_license=True, **where)
    card = hub.hub.read("dataset", f"{hub.name}/closed", "README.md").decode()
    assert "license: cc-by-nd-4.0" in card
    [record] = json.loads((path / ".mmpref/published.json").read_text())
    assert record["accepted_licences"] == ["me/closed: cc-by-nd-4.0"]


def test_a_build_that_is_to_be_pushed_is_refused_before_any_work(tmp_path: Path) -> None:
    from mmpref.data.build import BuildRecipe, build_dataset

    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "README.md").write_text("---\nlicense: cc-by-nd-4.0\n---\n")
    (folder / "train.jsonl").write_text('{"image": "no.png", "prompt": "What?", "chosen": "A.", "rejected": "B."}\n')
    recipe = BuildRecipe(None, str(folder), "mix")
    with pytest.raises(HubError, match=r"cc-by-nd-4\.0"):
        build_dataset(recipe, tmp_path / "run", check_source=lambda source: void(check_licences(source, False)))
    assert not (tmp_path / "run/run.json").exists()
    assert not list((tmp_path / "run").rglob("*.parquet"))


def void(_: object) -> None:
    """Nothing is made of it."""
