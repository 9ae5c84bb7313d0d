"""Where something goes is said first and last, asked for at a terminal, and never another run's data unasked."""

from __future__ import annotations

import io
import json
import logging
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import CliRunner
from PIL import Image

import mmpref
from mmpref.cli.main import program
from mmpref.errors import HubError, UsageError
from mmpref.hub.cards.dataset import write_dataset_card
from mmpref.hub.staged_files import ADAPTER_FILES, data_files
from mmpref.hub.target import Target, find_target
from tests.hub.pushed import push
from tests.hub.runs import COMMIT, RECIPE_HASH, adapter_run, dataset_run, evaluation_run
from tests.hub_fixtures import HubAccount

OTHER = "cd" * 32
BASE = "llava-hf/llava-v1.6-vicuna-7b-hf"


def _target(hub: HubAccount, name: str = "thing", kind: Any = "dataset", **options: Any) -> Target:
    return find_target(f"{hub.name}/{name}", kind, token=hub.token, endpoint=hub.endpoint, **options)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    path = tmp_path / "pairs"
    write_dataset_card(path, dataset_run(path))
    return path


def _of_another_run(path: Path) -> None:
    """The same run with other bytes in its data, under another recipe."""
    manifest = json.loads((path / "run.json").read_text())
    (path / "run.json").write_text(json.dumps({**manifest, "recipe_hash": OTHER}))
    file = path / manifest["data"][0]["path"]
    pq.write_table(pq.read_table(file).slice(0, 2), file)


def test_what_is_there_and_who_sees_it(hub: HubAccount, dataset: Path) -> None:
    new = _target(hub, private=True)
    assert (new.exists, new.visibility, new.run) == (False, "private", None)
    url = f"{hub.endpoint}/datasets/{hub.name}/thing"
    assert new.sentence == f"the private dataset repository {hub.name}/thing, which will be made ({url})"
    assert push(hub, dataset).visibility == "public"
    there = _target(hub)
    assert (there.exists, there.visibility, there.run) == (True, "public", RECIPE_HASH)
    assert "the public dataset repository" in there.sentence
    assert "which is there" in there.sentence
    with pytest.raises(HubError, match="exists and is public"):
        _target(hub, private=True)
    assert push(hub, dataset, "own", private=True).visibility == "private"
    assert _target(hub, "own").private


def test_it_is_said_first_and_last(hub: HubAccount, dataset: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "mmpref"):
        push(hub, dataset, private=True)
    first, *_, last = caplog.messages
    assert first.startswith(f"Publishing {dataset} to the private dataset repository {hub.name}/thing")
    assert last.startswith(f"published {hub.endpoint}/datasets/{hub.name}/thing (private) at ")


def test_data_of_another_run_are_replaced_only_where_that_is_wanted(hub: HubAccount, dataset: Path) -> None:
    first = push(hub, dataset)
    _of_another_run(dataset)
    with pytest.raises(HubError, match=f"data of the run {RECIPE_HASH[:8]}, such as data/train-00000") as refused:
        push(hub, dataset)
    assert "--replace" in refused.value.hint
    repo = f"{hub.name}/thing"
    assert json.loads(hub.hub.read("dataset", repo, "run.json"))["recipe_hash"] == RECIPE_HASH
    assert push(hub, dataset, replace=True).commit != first.commit
    assert json.loads(hub.hub.read("dataset", repo, "run.json"))["recipe_hash"] == OTHER


def test_the_same_run_and_another_split_need_no_leave(hub: HubAccount, tmp_path: Path) -> None:
    dataset_run(tmp_path / "train")
    dataset_run(tmp_path / "test", "test", recipe_hash=OTHER)
    file = tmp_path / "test/data/test-00000-of-00001.parquet"
    table, picture = pq.read_table(file), io.BytesIO()
    Image.new("RGB", (9, 9)).save(picture, "PNG")
    rows = [{**row, "images": [{**row["images"][0], "bytes": picture.getvalue()}]} for row in table.to_pylist()]
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), file)
    push(hub, tmp_path / "train")
    first = hub.hub.read("dataset", f"{hub.name}/thing", "pictures/pair-1.jpg")
    assert push(hub, tmp_path / "test").changed
    assert hub.hub.read("dataset", f"{hub.name}/thing", "pictures/pair-1.jpg") != first


def test_an_adapter_of_another_run_is_not_replaced_either(hub: HubAccount, tmp_path: Path) -> None:
    adapter_run(tmp_path / "one", BASE, COMMIT)
    push(hub, tmp_path / "one")
    manifest = adapter_run(tmp_path / "two", BASE, COMMIT)
    (tmp_path / "two/run.json").write_text(json.dumps({**manifest, "recipe_hash": OTHER}))
    (tmp_path / "two/adapter_model.safetensors").write_bytes(b"\x00other")
    with pytest.raises(HubError, match=r"such as adapter_model\.safetensors"):
        push(hub, tmp_path / "two")
    assert push(hub, tmp_path / "two", replace=True).changed


def test_records_of_another_evaluation_are_not_replaced_either(hub: HubAccount, tmp_path: Path) -> None:
    for name, benchmarks in (("one", ("mme", "pope")), ("two", ("mme",))):
        evaluation_run(tmp_path / name)
        row = {"id": "1", "prompt": "Is it?", "answer": name, "counts": "{}"}
        (tmp_path / name / "samples/base-pope.parquet").unlink()
        for benchmark in benchmarks:
            pq.write_table(pa.Table.from_pylist([row]), tmp_path / name / f"samples/base-{benchmark}.parquet")
    manifest = json.loads((tmp_path / "two/run.json").read_text())
    (tmp_path / "two/run.json").write_text(json.dumps({**manifest, "recipe_hash": OTHER}))
    push(hub, tmp_path / "one", samples_only=True)
    with pytest.raises(HubError, match=rf"data of the run {RECIPE_HASH[:8]}, such as samples/base-mme\.parquet"):
        push(hub, tmp_path / "two", samples_only=True)
    assert "samples/base-pope.parquet" in hub.hub.tree("dataset", f"{hub.name}/thing")
    assert push(hub, tmp_path / "two", samples_only=True, replace=True).changed
    assert "samples/base-pope.parquet" not in hub.hub.tree("dataset", f"{hub.name}/thing")


def test_what_would_be_replaced_is_refused_before_the_work(
    hub: HubAccount, dataset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    push(hub, dataset)
    target = _target(hub)
    target.refuse_replacing(OTHER, data_files(["test"]))
    assert "--replace" not in caplog.text
    with caplog.at_level(logging.INFO, "mmpref"):
        target.refuse_replacing(RECIPE_HASH, data_files(["train"]))
    assert "Should other data come of it now, they replace that only with --replace." in caplog.text
    with pytest.raises(HubError, match="would be replaced"):
        target.refuse_replacing(OTHER, data_files(["train"]))
    adapter_run(tmp_path / "adapter", BASE, COMMIT)
    push(hub, tmp_path / "adapter", "model")
    with pytest.raises(HubError, match=r"adapter_config\.json"):
        _target(hub, "model", "model").refuse_replacing(OTHER, ADAPTER_FILES)


def test_results_go_where_a_model_is(hub: HubAccount) -> None:
    with pytest.raises(UsageError, match="There is no model repository"):
        _target(hub, "nothing", "model", must_exist=True)


def test_without_an_id_and_a_terminal_nothing_is_published(dataset: Path, tmp_path: Path) -> None:
    evaluation_run(tmp_path / "evaluation")
    for path, kind in ((dataset, "dataset"), (tmp_path / "evaluation", "model")):
        done = CliRunner().invoke(program, ["publish", str(path)])
        assert isinstance(done.exception, UsageError)
        assert "is not named" in done.exception.message
        assert f"--hub-{kind}-id" in done.exception.hint
        with pytest.raises(UsageError, match="is not named"):
            mmpref.publish(path)


@pytest.mark.parametrize(("answer", "published"), [("y", True), ("n", False)])
def test_at_a_terminal_it_asks(
    answer: str, published: bool, hub: HubAccount, hub_env: dict[str, str], dataset: Path
) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "mmpref", "publish", str(dataset), "--private"]
    with subprocess.Popen(
        command, env=hub_env, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        os.write(ours, f"{answer}\n".encode())
        out, talk = process.communicate(timeout=300)
    os.close(ours)
    os.close(theirs)
    assert f"to the private dataset repository {hub.name}/pairs, which will be made" in talk
    assert (process.returncode == 0) is published, talk
    assert ("private" in out) is published
    assert _target(hub, "pairs").exists is published


def test_the_licence_of_ones_own_data(hub: HubAccount, tmp_path: Path) -> None:
    source = {"id": "mine.jsonl", "split": "train", "revision": None, "fingerprint": "sha256:1", "licence": None}
    dataset_run(tmp_path / "own", source=source)
    push(hub, tmp_path / "own", license="CC-BY-4.0")
    card = hub.hub.read("dataset", f"{hub.name}/thing", "README.md").decode()
    assert yaml.safe_load(card.split("---\n")[1])["license"] == "cc-by-4.0"
    assert "does not say which" not in card
    assert json.loads(hub.hub.read("dataset", f"{hub.name}/thing", "run.json"))["source"]["licence"] == "cc-by-4.0"
    dataset_run(tmp_path / "theirs", source={**source, "licence": "mit"})
    with pytest.raises(UsageError, match="states its licence itself: mit"):
        push(hub, tmp_path / "theirs", "other", license="cc-by-4.0")
    with pytest.raises(UsageError, match="no licence id of the Hub"):
        push(hub, tmp_path / "own", license="cc-by-5")
