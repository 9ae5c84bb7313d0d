"""What licences let pass: warned, refused before any work, accepted by the user, and carried into the card."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mmpref.data.build import build_dataset
from mmpref.data.open_source import source_facts
from mmpref.data.recipe import BuildRecipe
from mmpref.errors import HubError
from mmpref.hub.cards.dataset import write_dataset_card
from mmpref.hub.cards.metadata import licence_fields
from mmpref.hub.licence_check import check_licences
from mmpref.hub.publish_run import publish_run
from mmpref.licence import UNREADABLE, join_sources
from mmpref.run.manifest import read_manifest
from mmpref.tables.open import open_table
from mmpref.tables.table import Table
from tests.hub.pushed import adapter_facts, metadata, pairs_run
from tests.hub.runs import COMMIT, adapter_run, dataset_run
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
        ("mit and apache-2.0", "refused"),
        ("CC-BY-NC-ND-4.0", "refused"),
    ],
)
def test_what_a_licence_lets_pass(licence: str | None, outcome: str, caplog: pytest.LogCaptureFixture) -> None:
    source = {"id": "me/set", "licence": licence}
    with caplog.at_level(logging.WARNING, "mmpref"):
        if outcome == "refused":
            with pytest.raises(HubError, match="--accept-license"):
                check_licences(source, False)
            assert check_licences(source, True) == [f"me/set: {str(licence).lower()}"]
        else:
            assert check_licences(source, False) == []
    told = {"fine": "", "refused": "", "non-commercial": "commercially", "nobody says": "states no licence"}[outcome]
    assert told in caplog.text
    assert bool(caplog.text) == bool(told)


def test_every_source_of_a_union_counts() -> None:
    sources = [{"id": "a/free", "licence": "mit"}, {"id": "b/closed", "licence": "cc-by-nd-4.0"}]
    with pytest.raises(HubError, match=r"b/closed: cc-by-nd-4\.0"):
        check_licences({"id": "a/free + b/closed", "licence": None, "sources": sources}, False)


def test_a_card_that_cannot_be_read_is_not_one_that_states_nothing(tmp_path: Path) -> None:
    with pytest.raises(HubError, match="me/set: what its card states cannot be read"):
        check_licences({"id": "me/set", "licence": UNREADABLE}, False)
    source = {"id": "me/set", "split": "train", "revision": None, "fingerprint": "x", "licence": UNREADABLE}
    write_dataset_card(tmp_path, dataset_run(tmp_path, source=source))
    card = (tmp_path / "README.md").read_text()
    assert "license: unknown" in card
    assert "could not be read" in card


def test_the_card_of_a_union_names_all_licences() -> None:
    tables = [
        Table(name, "train", None, name, licence, lambda: iter(()))
        for name, licence in (("a", "mit"), ("b", None), ("c", "cc-by-4.0"))
    ]
    assert source_facts(tables[:2])["licence"] == "mit and unknown"
    assert licence_fields(source_facts(tables[::2])["licence"]) == {
        "license": "other",
        "license_name": "mit-and-cc-by-4.0",
    }
    assert source_facts(tables[1:2] * 2)["licence"] is None


@pytest.mark.parametrize(
    "card",
    [
        b"---\nlicense: [cc-by-nc-nd-4.0, other]\n---\n",
        b"\xef\xbb\xbf---\nlicense: cc-by-nc-nd-4.0\n---\n",
        b"\xef\xbb\xbf---\r\nlicense: cc-by-nc-nd-4.0\r\n---\r\n",
        b"---\nlicense: [\n---\n",
    ],
)
def test_no_form_of_a_card_slips_through(hub: HubAccount, tmp_path: Path, card: bytes) -> None:
    """From the card of a source, in a folder, to what is published of it."""
    folder, run = tmp_path / "set", tmp_path / "run"
    folder.mkdir()
    Image.new("RGB", (8, 8), "red").save(folder / "a.png")
    (folder / "README.md").write_bytes(card)
    (folder / "train.jsonl").write_text('{"image": "a.png", "prompt": "What?", "chosen": "A.", "rejected": "B."}\n')
    build_dataset(BuildRecipe(None, str(folder), "mix"), run, write_card=write_dataset_card)
    where: dict[str, Any] = {"token": hub.token, "endpoint": hub.endpoint}
    with pytest.raises(HubError, match="--accept-license"):
        publish_run(run, f"{hub.name}/slips", **where)
    assert ("dataset", f"{hub.name}/slips") not in hub.hub.store.repos
    publish_run(run, f"{hub.name}/slips", accept_license=True, **where)


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


def test_an_adapter_is_published_by_the_rule_of_its_data(
    hub: HubAccount, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What was made of them is an adapter this time: warned of, refused, accepted, or stated by their owner."""
    path, where = tmp_path / "dpo", {"token": hub.token, "endpoint": hub.endpoint}
    manifest = adapter_run(path, "me/vlm", COMMIT)

    def trained_on(*licences: str | None) -> None:
        data = [{"id": f"me/set-{n}", "revision": COMMIT, "licence": licence} for n, licence in enumerate(licences)]
        (path / "run.json").write_text(json.dumps(manifest | {"datasets": data}))

    def card() -> str:
        return hub.hub.read("model", f"{hub.name}/dpo", "README.md").decode()

    trained_on("mit", None)
    with caplog.at_level(logging.WARNING, "mmpref"):
        publish_run(path, f"{hub.name}/dpo", **where)
    assert "me/set-1 states no licence" in caplog.text
    assert "me/set-0 states" not in caplog.text
    assert "| <code>mit</code> |\n" in card()
    assert "| <code>unknown</code> |\n" in card()
    assert "nobody states" in card()
    caplog.clear()
    with caplog.at_level(logging.WARNING, "mmpref"):
        publish_run(path, f"{hub.name}/dpo", license="cc-by-4.0", **where)
    assert "licence" not in caplog.text
    assert "| <code>cc-by-4.0</code> |\n" in card()
    assert "nobody states" not in card()
    assert not publish_run(path, f"{hub.name}/dpo", **where).changed, "it holds until the data state their own"
    trained_on("mit", "cc-by-nd-4.0")
    with pytest.raises(HubError, match="me/set-1: cc-by-nd-4"):
        publish_run(path, f"{hub.name}/dpo", **where)
    publish_run(path, f"{hub.name}/dpo", accept_license=True, **where)
    assert json.loads((path / ".mmpref/published.json").read_text())[0]["accepted_licences"]


def test_the_licence_of_what_the_first_adapter_was_trained_on_holds_for_the_next_one(
    hub: HubAccount, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As a run says it, and, of runs of before, as what is beside the first adapter does. One without a record is known
    by its card."""
    where: dict[str, Any] = {"token": hub.token, "endpoint": hub.endpoint}
    earlier = {"id": "me/closed", "split": "train", "revision": COMMIT, "fingerprint": "x", "licence": "cc-by-nd-4.0"}
    own = {"id": "me/free", "split": "train", "revision": COMMIT, "fingerprint": "y", "licence": "mit"}
    first, second = tmp_path / "first", tmp_path / "second"
    (first / "run.json").write_text(json.dumps(adapter_run(first, "me/vlm", COMMIT) | {"datasets": [earlier]}))
    manifest = adapter_run(second, "me/vlm", COMMIT) | {"datasets": [own], "began": adapter_facts(first)}
    for more in ({}, {"earlier_datasets": [earlier]}):
        (second / "run.json").write_text(json.dumps(manifest | more))
        with pytest.raises(HubError, match=r"me/closed: cc-by-nd-4\.0"):
            publish_run(second, f"{hub.name}/second", **where)
        assert ("model", f"{hub.name}/second") not in hub.hub.store.repos
    publish_run(second, f"{hub.name}/second", accept_license=True, **where)
    card = hub.hub.read("model", f"{hub.name}/second", "README.md").decode()
    assert "Data of the trainings before:" in card
    assert f"| <code>me/closed</code> | <code>{COMMIT}</code> | – | – | <code>cc-by-nd-4.0</code> |" in card
    assert metadata(card.encode())["datasets"] == ["me/free", "me/closed"]
    (second / "run.json").write_text(json.dumps(manifest))
    (first / "run.json").unlink()
    with caplog.at_level(logging.WARNING, "mmpref"):
        publish_run(second, f"{hub.name}/untold", **where)
    assert f"{first} states no licence" in caplog.text
    card = hub.hub.read("model", f"{hub.name}/untold", "README.md").decode()
    assert "What <code>/path/to/first</code> (licence: <code>unknown</code>) was trained on is not recorded." in card
    assert metadata(card.encode())["datasets"] == ["me/free"]
    (first / "README.md").write_text("---\nlicense: cc-by-nd-4.0\n---\n")
    with pytest.raises(HubError, match=r"first: cc-by-nd-4\.0"):
        publish_run(second, f"{hub.name}/untold", **where)


def test_what_is_made_of_published_pairs_has_the_licence_that_was_stated_with_them(
    hub: HubAccount, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of an adapter, and of pairs that were made of these. The pairs' folder, which was read, still states none."""
    pairs, where = pairs_run(tmp_path), {"token": hub.token, "endpoint": hub.endpoint}
    done = publish_run(pairs, f"{hub.name}/stated", license="cc-by-4.0", **where)
    facts = open_table(str(pairs), "train").facts()
    adapter, mixed, union = tmp_path / "dpo", tmp_path / "mixed", tmp_path / "union"
    manifest = adapter_run(adapter, "me/vlm", COMMIT) | {"datasets": [facts]}
    (adapter / "run.json").write_text(json.dumps(manifest))
    recipe = dataset_run(mixed, source=facts, method="mix", model=None)["recipe"] | {"source": str(pairs)}
    (mixed / "run.json").write_text(json.dumps(read_manifest(mixed) | {"recipe": recipe}))
    other = {"id": "me/other", "split": "train", "revision": COMMIT, "fingerprint": COMMIT, "licence": "mit"}
    both = join_sources({"split": "train", "fingerprint": "sha256:2"}, [facts, other])
    dataset_run(union, source=both, method="mix", model=None)
    with caplog.at_level(logging.WARNING, "mmpref"):
        for run in (adapter, mixed):
            publish_run(run, f"{hub.name}/{run.name}", **where)
    assert "licence" not in caplog.text
    publish_run(union, f"{hub.name}/union", accept_license=True, **where)
    cards = {
        name: hub.hub.read("model" if name == "dpo" else "dataset", f"{hub.name}/{name}", "README.md").decode()
        for name in ("dpo", "mixed", "union")
    }
    row = f"| <code>{hub.name}/stated</code> | <code>{done.commit}</code> | "
    assert f"{row}– | – | <code>cc-by-4.0</code> |\n" in cards["dpo"]
    assert "license: cc-by-4.0\n" in cards["mixed"]
    assert f"| source | <code>{hub.name}/stated</code>, split" in cards["mixed"]
    assert f"--source {hub.name}/stated \\\n  --source-revision {done.commit} \\\n" in cards["mixed"]
    assert f"{row}<code>cc-by-4.0</code> |\n" in cards["union"]
    assert "license_name: cc-by-4.0-and-mit\n" in cards["union"]


def test_a_public_card_of_pairs_that_were_made_of_private_ones_is_warned_of(
    hub: HubAccount, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The folder, which was read, has a name on the Hub since it was published."""
    where: dict[str, Any] = {"token": hub.token, "endpoint": hub.endpoint}
    dataset_run(tmp_path / "pairs")
    done = publish_run(tmp_path / "pairs", f"{hub.name}/bdhs", private=True, **where)
    facts = open_table(str(tmp_path / "pairs"), "train").facts()
    dataset_run(tmp_path / "mixed", source=facts, method="mix", model=None)
    publish_run(tmp_path / "mixed", f"{hub.name}/closed", private=True, **where)
    assert "private or gone" not in caplog.text
    publish_run(tmp_path / "mixed", f"{hub.name}/open", **where)
    assert done.repo_id in hub.hub.read("dataset", f"{hub.name}/open", "README.md").decode()
    assert f"the card names the dataset {done.repo_id}, which is private or gone" in caplog.text
    assert "Make it public, or the dataset private." in caplog.text


def test_a_build_that_is_to_be_pushed_is_refused_before_any_work(tmp_path: Path) -> None:
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
