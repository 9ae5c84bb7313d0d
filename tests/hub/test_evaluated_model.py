"""Results go into the card of the model that was evaluated, and of no other."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi

from mmpref.errors import UsageError
from mmpref.hub.publish_run import publish_run
from mmpref.hub.published import Published
from tests.hub.runs import COMMIT, adapter_run, evaluation_run, whole_model_run
from tests.hub_fixtures import HubAccount


def _push(hub: HubAccount, path: Path, **options: Any) -> Published:
    return publish_run(path, f"{hub.name}/thing", token=hub.token, endpoint=hub.endpoint, **options)


def _files(hub: HubAccount) -> dict[str, bytes]:
    repo_id = f"{hub.name}/thing"
    return {path: hub.hub.read("model", repo_id, path) for path in hub.hub.tree("model", repo_id)}


def test_results_of_another_whole_model_are_refused(hub: HubAccount, tmp_path: Path) -> None:
    whole_model_run(tmp_path / "full")
    pushed = _push(hub, tmp_path / "full", accept_private=True)
    local = {"id": "runs/full", "revision": None, "files": "sha256:0"}
    own = {"model.safetensors": hashlib.sha256(b"\x00weights").hexdigest()}
    other = {"model.safetensors": "0" * 64}
    served = {"id": "http://127.0.0.1:8000/v1#full", "revision": None, "files": None}
    on_hub = {"id": f"{hub.name}/thing", "revision": pushed.commit, "files": None}
    adapter = {"id": "runs/dpo", "revision": None, "weights": "0" * 64}
    before = _files(hub)
    evaluated: list[tuple[str, dict[str, Any]]] = [
        ("other weights", {"model": local, "model_weights": other}),
        ("does not say which weights", {"model": local}),
        ("a model behind a server", {"model": served}),
        ("the model me/other, not", {"model": {**on_hub, "id": "me/other"}}),
        ("other weights", {"model": {**on_hub, "revision": COMMIT}}),
        ("is a whole model", {"adapter": adapter}),
    ]
    for number, (reason, facts) in enumerate(evaluated):
        evaluation_run(tmp_path / f"other-{number}", **facts)
        with pytest.raises(UsageError, match=reason):
            _push(hub, tmp_path / f"other-{number}")
    assert _files(hub) == before
    evaluation_run(tmp_path / "of-its-folder", model=local, model_weights=own)
    evaluation_run(tmp_path / "of-the-hub", model=on_hub)
    assert _push(hub, tmp_path / "of-its-folder").changed
    assert not _push(hub, tmp_path / "of-the-hub").changed, "the same results"
    whole_model_run(tmp_path / "trained-again", b"\x00others")
    _push(hub, tmp_path / "trained-again", accept_private=True, replace=True)
    with pytest.raises(UsageError, match="other weights"):
        _push(hub, tmp_path / "of-the-hub")


def test_results_on_another_base_than_the_adapters_are_refused(hub: HubAccount, tmp_path: Path) -> None:
    """Each base a folder, or on the Hub at a commit, where files of the same names can be compared."""
    api = HfApi(endpoint=hub.endpoint, token=hub.token)
    commits = []
    for name, weights in (("vlm", b"\x00base"), ("other", b"\x00others")):
        api.create_repo(f"{hub.name}/{name}")
        uploaded = api.upload_file(
            path_or_fileobj=weights, path_in_repo="model.safetensors", repo_id=f"{hub.name}/{name}"
        )
        commits.append({"id": f"{hub.name}/{name}", "revision": uploaded.oid})
    own, other = ({"model.safetensors": hashlib.sha256(of).hexdigest()} for of in (b"\x00base", b"\x00others"))
    folder = {"id": "/home/me/vlm", "revision": None}
    same: list[dict[str, Any]] = [{"model": commits[0]}, {"model": folder, "model_weights": own}]
    others: list[dict[str, Any]] = [{"model": commits[1]}, {"model": folder, "model_weights": other}]
    unknown: list[dict[str, Any]] = [
        {"model": folder},
        {"model": folder, "model_weights": {"part.safetensors": "0" * 64}},
        {"model": {"id": f"{hub.name}/gone", "revision": COMMIT}},
    ]
    for number, trained in enumerate(same):
        manifest = adapter_run(tmp_path / f"adapter-{number}", **_base_of(trained)) | trained
        (tmp_path / f"adapter-{number}/run.json").write_text(json.dumps(manifest))
        _push(hub, tmp_path / f"adapter-{number}", replace=True)
        weights = hashlib.sha256((tmp_path / f"adapter-{number}/adapter_model.safetensors").read_bytes()).hexdigest()
        for position, facts in enumerate([*others, *same, *unknown]):
            path = tmp_path / f"evaluation-{number}-{position}"
            evaluation_run(path, {"id": "runs/dpo", "revision": None, "weights": weights}, **facts)
            if facts in others:
                with pytest.raises(UsageError, match=r"on another base than that of .*: the weights of .* are others"):
                    _push(hub, path)
            else:
                _push(hub, path)


def _base_of(trained: dict[str, Any]) -> dict[str, Any]:
    return {"base": trained["model"]["id"], "revision": trained["model"]["revision"]}
