"""Entries of leaderboards: written where the Hub lists the benchmark and the task is ours, and nowhere else."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError

from mmpref.bench.benchmark import BENCHMARKS, CountKey, Score
from mmpref.hub.leaderboards import FRAMEWORK
from mmpref.hub.publish_run import publish_run
from mmpref.hub.published import Published
from tests.hub.pushed import adapter_facts, metadata, published_files, push
from tests.hub.runs import COMMIT, adapter_run, evaluation_run
from tests.hub.test_publish_run import BASE
from tests.hub_fixtures import HubAccount

PREPARED = Path(__file__).parents[2] / "scripts/registering/pope/eval.yaml"
FILE = ".eval_results/mmpref-pope.yaml"


class Benchmark:
    """A dataset on the test Hub."""

    def __init__(self, hub: HubAccount) -> None:
        self.id, self._hub = f"{hub.name}/POPE", hub
        self.api = HfApi(endpoint=hub.endpoint, token=hub.token)
        self.api.create_repo(self.id, repo_type="dataset")

    def declare(self, content: str | None = None, *, listed: bool = True) -> None:
        text = PREPARED.read_text() if content is None else content
        self.api.upload_file(
            path_or_fileobj=text.encode(), path_in_repo="eval.yaml", repo_id=self.id, repo_type="dataset"
        )
        if listed:
            self._hub.hub.store.benchmarks.add(self.id)


@pytest.fixture
def benchmark(hub: HubAccount) -> Iterator[Benchmark]:
    benchmark = Benchmark(hub)
    yield benchmark
    hub.hub.store.benchmarks.discard(benchmark.id)


@pytest.fixture
def adapter(hub: HubAccount, tmp_path: Path) -> Path:
    """A published adapter."""
    adapter_run(tmp_path / "adapter", BASE, COMMIT)
    push(hub, tmp_path / "adapter")
    return tmp_path / "adapter"


def evaluated(adapter: Path, benchmark: Benchmark, **asked: Any) -> Path:
    """A finished evaluation of the adapter on the benchmark; `asked` changes what it was."""
    path = adapter.parent / "evaluation"
    results = evaluation_run(path, adapter_facts(adapter))
    data = {"id": benchmark.id, "split": "test", "revision": COMMIT, "fingerprint": COMMIT, "licence": None}
    for row in results["results"]:
        row |= {"split": "all", "data": data}
    results["asked"]["pope"] |= {"data": data, **asked}
    (path / "results.json").write_text(json.dumps(results))
    return path


def published(hub: HubAccount, run: Path, **options: Any) -> dict[str, bytes]:
    """The model's files once the run is published."""
    push(hub, run, **options)
    return published_files(hub, "model")


def test_an_entry_is_on_the_models_page_and_on_the_leaderboard(
    hub: HubAccount, benchmark: Benchmark, adapter: Path
) -> None:
    benchmark.declare()
    run = evaluated(adapter, benchmark)
    files = published(hub, run, push_samples=True)
    assert len(yaml.safe_load(files[FILE])) == 1, "yes_ratio is no task of the benchmark"
    [entry] = benchmark.api.model_info(f"{hub.name}/thing", expand=["evalResults"]).eval_results
    assert (entry.dataset_id, entry.task_id, entry.value) == (benchmark.id, "pope_accuracy", 0.891)
    assert entry.dataset_revision == COMMIT
    assert entry.notes == "95 % interval 0.881 to 0.901, n = 3000, scored by mmpref"
    folder = entry.source_url.removeprefix(f"{hub.endpoint}/{hub.name}/thing/tree/main/")
    assert f"{folder}/results.json" in files, "the source is where the records are"
    [row] = benchmark.api.get_dataset_leaderboard(benchmark.id, base_model_only=False)
    assert (row.model_id, row.value, row.source["url"]) == (f"{hub.name}/thing", 0.891, entry.source_url)
    assert metadata(files["README.md"])["model-index"][0]["results"][0]["dataset"]["type"] == benchmark.id
    assert not push(hub, run, push_samples=True).changed


def test_records_that_were_published_as_a_dataset_are_the_source(
    hub: HubAccount, benchmark: Benchmark, adapter: Path
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    benchmark.declare()
    run = evaluated(adapter, benchmark)
    row = {"id": "1", "prompt": "Is it?", "answer": "Yes", "counts": "{}"}
    pq.write_table(pa.Table.from_pylist([row]), run / "samples/base-pope.parquet")
    records: Published = push(hub, run, "records", samples_only=True)
    entry = yaml.safe_load(published(hub, run)[FILE])[0]
    assert entry["source"] == {"url": records.url, "name": "Per-sample records"}


@pytest.mark.parametrize(
    ("why", "declaration", "asked"),
    [
        ("the Hub does not list it", {"listed": False}, {}),
        ("another framework's", {"content": PREPARED.read_text().replace("mmpref", "inspect-ai")}, {}),
        ("no such task", {"content": PREPARED.read_text().replace("pope_accuracy", "pope_all")}, {}),
        ("another split", {"content": PREPARED.read_text().replace("split: test", "split: dev")}, {}),
        ("another configuration", {"content": PREPARED.read_text().replace("config: default", "config: full")}, {}),
        ("no date", {"content": f"{PREPARED.read_text()}\nsince: 2024-13-45\n"}, {}),
        ("asked in one's own way", {}, {"official": False, "changed": {"suffix": ""}}),
    ],
)
def test_what_does_not_match_goes_to_the_card_only(
    hub: HubAccount,
    benchmark: Benchmark,
    adapter: Path,
    why: str,
    declaration: dict[str, Any],
    asked: dict[str, Any],
) -> None:
    benchmark.declare(**declaration)
    files = published(hub, evaluated(adapter, benchmark, **asked), push_samples=True)
    assert FILE not in files, why
    assert metadata(files["README.md"])["model-index"][0]["results"]


def test_a_dataset_that_is_not_there_or_declares_nothing_has_no_leaderboard(
    hub: HubAccount, benchmark: Benchmark, adapter: Path
) -> None:
    run = evaluated(adapter, benchmark)
    assert FILE not in published(hub, run, push_samples=True)
    hub.hub.store.repos.pop(("dataset", benchmark.id))
    assert not push(hub, run, push_samples=True).changed


def test_without_records_there_is_no_entry_and_the_way_is_told(
    hub: HubAccount, benchmark: Benchmark, adapter: Path, caplog: pytest.LogCaptureFixture
) -> None:
    benchmark.declare()
    with caplog.at_level(logging.INFO, "mmpref"):
        assert FILE not in published(hub, evaluated(adapter, benchmark))
    assert "leaderboard of pope would take these results" in caplog.text
    assert "--push-samples" in caplog.text


def test_entries_do_not_outlive_the_adapter(hub: HubAccount, benchmark: Benchmark, adapter: Path) -> None:
    benchmark.declare()
    published(hub, evaluated(adapter, benchmark), push_samples=True)
    assert FILE in published(hub, adapter), "the same adapter again"
    manifest = json.loads((adapter / "run.json").read_text())
    (adapter / "run.json").write_text(json.dumps({**manifest, "recipe_hash": "cd" * 32}))
    (adapter / "adapter_model.safetensors").write_bytes(b"\x00other")
    publish_run(adapter, f"{hub.name}/thing", replace=True, token=hub.token, endpoint=hub.endpoint)
    files = published_files(hub, "model")
    assert FILE not in files
    assert "model-index" not in metadata(files["README.md"])


def test_the_prepared_declaration_is_one_that_the_hub_takes_and_mmpref_fills(benchmark: Benchmark) -> None:
    benchmark.declare()
    pope = BENCHMARKS.get("pope")
    counts = {"tp": 1.0, "fp": 0.0, "tn": 0.0, "fn": 0.0, "yes": 1.0, "n": 1.0, "right": 1.0}
    both = {CountKey(part, name): value for part in ("all", "random", "popular") for name, value in counts.items()}
    metrics = {metric.name: metric for metric in pope.task(pope.settings()).metrics([Score("yes", both)])}
    assert f'\t{FRAMEWORK}: {{\n\t\tname: "{FRAMEWORK}",' in (PREPARED.parents[1] / "framework.ts").read_text()
    tasks = yaml.safe_load(PREPARED.read_text())["tasks"]
    assert {task["id"].removeprefix("pope_") for task in tasks} <= metrics.keys()
    assert all(metrics[task["id"].removeprefix("pope_")].higher_is_better for task in tasks)
    assert {(task["split"], task["config"]) for task in tasks} == {(pope.settings().split, "default")}
    with pytest.raises(HfHubHTTPError, match="evaluation_framework must be one of"):
        benchmark.declare(PREPARED.read_text().replace("mmpref", "nobody"))
