"""A published evaluation as the base of a comparison: fetched at its commit, tested against runs of this machine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmpref.api.evaluate import compare
from mmpref.errors import HubError, InputError, UsageError
from mmpref.hub.publish_run import publish_run
from mmpref.hub.published_evaluation import fetch_evaluation
from tests.bench.finished_runs import finished_run
from tests.hub_fixtures import HubAccount


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, Path]:
    """A published run with an adapter, and one of this machine: another adapter, better by 20 points."""
    rng = np.random.default_rng(0)
    base = (rng.random(300) < 0.6).astype(float)
    better = np.maximum(base, rng.random(300) < 0.5)
    theirs = finished_run(tmp_path / "theirs", {"base": base, "adapter": base}, weights="0")
    return theirs, finished_run(tmp_path / "ours", {"base": base, "adapter": better}, weights="1")


def _published(hub: HubAccount, run: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.endpoint)
    template = hub.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setenv("HF_TOKEN", hub.token)
    done = publish_run(
        run, f"{hub.name}/records", samples_only=True, replace=True, token=hub.token, endpoint=hub.endpoint
    )
    assert done.commit
    return done.commit


def test_records_of_a_dataset(hub: HubAccount, runs: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    theirs, ours = runs
    commit = _published(hub, theirs, monkeypatch)
    address = f"hf://datasets/{hub.name}/records@{commit}"
    comparison = compare(ours, baseline=address, margin=0.02).comparison
    assert comparison.models[0] == f"{hub.name}/records@{commit[:8]}: adapter"
    ((_, tests),) = zip(comparison.rows, comparison.tests, strict=True)
    assert [test and test.p is not None for test in tests] == [None, True, True]
    local = compare(ours, baseline=theirs).comparison
    assert [test and test.value for test in local.tests[0]] == [test and test.value for test in tests]
    assert [row.verdict for row in comparison.no_worse] == ["no worse", "no worse"]
    assert compare(ours, baseline=f"{address}#base").comparison.models[0].endswith("base")
    with pytest.raises(UsageError, match="names no model"):
        compare(ours, baseline=f"{address}#other")
    for given in ({"runs": [ours, address]}, {"runs": [ours], "arms": {"theirs": [address]}}):
        with pytest.raises(UsageError, match="stands for no folder of a run") as refused:
            compare(*given.pop("runs"), **given)  # type: ignore[arg-type]
        assert refused.value.hint.endswith(f"--baseline={address}.")


def test_an_older_commit_is_what_it_was(
    hub: HubAccount, runs: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs, ours = runs
    first = _published(hub, theirs, monkeypatch)
    second = _published(hub, ours, monkeypatch)
    address = f"hf://datasets/{hub.name}/records"
    assert fetch_evaluation(address).name.endswith(second[:8])
    old = compare(ours, baseline=f"{address}@{first}").comparison
    assert old.rows[0][1][0] == compare(theirs).comparison.rows[0][1][1]


def test_resamples_are_of_the_run_that_is_there(
    hub: HubAccount, runs: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run of before resamples were kept takes those of another run away: they are no test of it."""
    theirs, ours = runs
    _published(hub, theirs, monkeypatch)
    (ours / "resamples.parquet").unlink()
    _published(hub, ours, monkeypatch)
    assert not (fetch_evaluation(f"hf://datasets/{hub.name}/records").path / "resamples.parquet").exists()


def test_what_holds_no_evaluation(hub: HubAccount, runs: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    _published(hub, runs[0], monkeypatch)
    with pytest.raises(InputError, match="There is no dataset"):
        fetch_evaluation(f"hf://datasets/{hub.name}/nothing")
    with pytest.raises(InputError, match="There is no dataset"):
        fetch_evaluation(f"hf://datasets/{hub.name}/records@{'0' * 40}")
    with pytest.raises(InputError, match="holds no evaluation with its records"):
        fetch_evaluation(f"hf://datasets/{hub.name}/records/elsewhere")
    with pytest.raises(InputError, match="no address of a published evaluation"):
        fetch_evaluation("hf://records")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(HubError, match="cannot be fetched"):
        fetch_evaluation(f"hf://datasets/{hub.name}/records")
