"""What is private stays so: rows and weights of it are refused where all would read them, and names are warned of."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from mmpref.errors import HubError
from mmpref.hub.publish_run import publish_run
from mmpref.hub.seen_by_others import Source, sources_of
from tests.hub.pushed import adapter_facts, push
from tests.hub.runs import COMMIT, adapter_manifest, adapter_run, dataset_run, evaluation_run, whole_model_run
from tests.hub.server.store import Repo
from tests.hub_fixtures import HubAccount


def repository(hub: HubAccount, kind: str, name: str, private: bool) -> Repo:
    return hub.hub.store.create_repo(kind, f"{hub.name}/{name}", private, hub.name)


def asked_of(repo_id: str) -> dict[str, Any]:
    return {"pope": {"id": repo_id, "split": "test", "revision": COMMIT, "fingerprint": COMMIT, "samples": "sha256:1"}}


@pytest.mark.parametrize("form", ["{}", "hf://datasets/{}/secret.jsonl"])
def test_records_of_a_private_benchmark_are_public_only_where_that_is_said(
    hub: HubAccount, tmp_path: Path, form: str
) -> None:
    secret = repository(hub, "dataset", "bench", private=True)
    evaluation_run(tmp_path / "evaluation", data=asked_of(form.format(secret.id)))
    where: dict[str, Any] = {"token": hub.token, "endpoint": hub.endpoint, "samples_only": True}
    with pytest.raises(HubError, match=f"Rows of the dataset {secret.id}, which is private or gone.*nothing was"):
        publish_run(tmp_path / "evaluation", f"{hub.name}/records", **where)
    assert ("dataset", f"{hub.name}/records") not in hub.hub.store.repos
    publish_run(tmp_path / "evaluation", f"{hub.name}/closed", private=True, **where)
    publish_run(tmp_path / "evaluation", f"{hub.name}/records", accept_private=True, **where)
    secret.private = False
    publish_run(tmp_path / "evaluation", f"{hub.name}/more", **where)


def test_records_beside_a_public_model_are_records_too_and_its_results_name_the_benchmark(
    hub: HubAccount, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    secret = repository(hub, "dataset", "bench", private=True)
    adapter_run(tmp_path / "adapter", "pkg:mmpref.testbed/model", None)
    push(hub, tmp_path / "adapter")
    evaluation_run(tmp_path / "evaluation", adapter_facts(tmp_path / "adapter"), data=asked_of(secret.id))
    with pytest.raises(HubError, match=f"Rows of the dataset {secret.id}"):
        push(hub, tmp_path / "evaluation", push_samples=True)
    with caplog.at_level(logging.WARNING, "mmpref"):
        push(hub, tmp_path / "evaluation")
    assert f"the card names the dataset {secret.id}, which is private or gone: others read its name, and" in caplog.text


def test_rows_of_what_is_gated_are_not_for_all(hub: HubAccount, tmp_path: Path) -> None:
    gated = repository(hub, "dataset", "gated", private=False)
    gated.gated = "manual"
    evaluation_run(tmp_path / "evaluation", data=asked_of(gated.id))
    with pytest.raises(HubError, match=f"{gated.id}, which is gated"):
        push(hub, tmp_path / "evaluation", samples_only=True)


def test_nobody_tells_is_not_public(hub: HubAccount, tmp_path: Path) -> None:
    """The benchmark is public, and nobody answers who asks."""
    bench = repository(hub, "dataset", "bench", private=False)
    evaluation_run(tmp_path / "evaluation", data=asked_of(bench.id))
    hub.hub.faults.add("info", "status", status=400, skip=1)  # the first is of where it goes
    with pytest.raises(HubError, match="Could not see whether it is public"):
        push(hub, tmp_path / "evaluation", samples_only=True)


@pytest.mark.parametrize("said", [True, False])
def test_weights_of_a_private_base_are_public_only_where_that_is_said(
    hub: HubAccount, tmp_path: Path, caplog: pytest.LogCaptureFixture, said: bool
) -> None:
    """Named by its own id, or by what stands for a folder; an adapter's card only names it."""
    base = repository(hub, "model", "base", private=True).id
    adapter_run(tmp_path / "adapter", "/models/vlm" if said else base, None if said else COMMIT)
    whole_model_run(tmp_path / "merged")
    options: dict[str, Any] = {"base_hub_id": base} if said else {}
    with pytest.raises(HubError, match=f"Weights of the model {base}, which is private or gone"):
        push(hub, tmp_path / "adapter", "merged", merged=tmp_path / "merged", **options)
    assert ("model", f"{hub.name}/merged") not in hub.hub.store.repos
    push(hub, tmp_path / "adapter", "merged", merged=tmp_path / "merged", accept_private=True, **options)
    with caplog.at_level(logging.WARNING, "mmpref"):
        push(hub, tmp_path / "adapter", **options)
    assert f"the card names the model {base}, which is private or gone: others read its name, and cannot load" in (
        caplog.text
    )


def test_a_model_that_was_trained_in_full_has_its_bases_weights(hub: HubAccount, tmp_path: Path) -> None:
    base = repository(hub, "model", "base", private=True)
    manifest = whole_model_run(tmp_path / "full") | {"model": {"id": base.id, "revision": COMMIT}}
    (tmp_path / "full/run.json").write_text(json.dumps(manifest))
    with pytest.raises(HubError, match=f"Weights of the model {base.id}"):
        push(hub, tmp_path / "full")
    base.private = False
    push(hub, tmp_path / "full")


def test_the_models_that_pairs_were_made_with_are_named_too(
    hub: HubAccount, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """And of a private source the rows that were made of it are told of."""
    policy, adapter = (repository(hub, "model", name, private=True).id for name in ("policy", "adapter"))
    source = repository(hub, "dataset", "sft", private=True).id
    dataset_run(
        tmp_path / "pairs",
        model={"id": policy, "revision": COMMIT},
        adapter={"id": adapter, "revision": COMMIT, "weights": "0"},
        source={"id": source, "split": "train", "revision": COMMIT, "fingerprint": COMMIT, "licence": "mit"},
    )
    with caplog.at_level(logging.WARNING, "mmpref"):
        push(hub, tmp_path / "pairs")
    for name in (policy, adapter):
        assert f"the card names the model {name}, which is private or gone" in caplog.text
    assert f"the dataset {source}, which is private or gone: others read its name and the rows that" in caplog.text


def test_all_that_a_run_read_of_the_hub_is_found() -> None:
    def facts(name: str, **more: Any) -> dict[str, Any]:
        return {"id": name, "revision": COMMIT, **more}

    manifest = adapter_manifest(
        model=facts("me/base"),
        began=facts("me/first", weights="0"),
        asked=[facts("me/judge")],
        embedders=[facts("me/embedder")],
        datasets=[facts("me/set"), facts("me/set"), {"id": "here", "revision": None}],
        held_out={"me/dev:dev": facts("me/dev", accuracy=0.5)},
        watched={"chair": {"data": facts("hf://datasets/me/raw@main/rows.jsonl")}},
    )
    models = ("me/base", "me/first", "me/judge", "me/embedder")
    tables = ("me/set", "me/dev", "me/raw")
    expected = [Source("model", name) for name in models] + [Source("dataset", name) for name in tables]
    assert sources_of(manifest) == expected
