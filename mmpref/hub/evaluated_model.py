"""Whether results are those of the model in a repository, into whose card they are to go."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi
from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.hf_api import RepoFile

from mmpref.errors import RunError, UsageError
from mmpref.hub_ids import is_commit, is_hub_id
from mmpref.run.manifest import MANIFEST, WEIGHTS, read_manifest

ADAPTER_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
"""Files of an adapter's weights, one of which it has."""
_PUBLISH = "Publish the training run first, or check --hub-model-id."
_EVALUATE = "Publish the model that was evaluated, or evaluate what is published."


def refuse_other_model(path: Path, manifest: Mapping[str, Any], repo_id: str, api: HfApi) -> None:
    """Refuse results of another model than the repository's. An adapter is told by its weights, and its base's where
    they are known; a whole model by its id and commit, or by the weights of the folder that was evaluated.

    Args:
        path: of the evaluation.
        manifest: of it.

    Raises:
        UsageError: there is no such repository, or it holds another model or adapter, one of another base, or none, or
            one where nobody can see that it was evaluated.
    """
    adapter: Mapping[str, Any] = manifest.get("adapter") or {}
    try:
        files = _weights(api, repo_id)
    except RepositoryNotFoundError as error:
        raise UsageError(f"There is no model repository {repo_id} whose results these could be.", _PUBLISH) from error
    adapters = [file for file in files if file.path in ADAPTER_WEIGHTS]
    if adapter:
        if files and not adapters:
            raise UsageError(
                f"{path} evaluated an adapter; {repo_id} is a whole model.",
                f"Evaluate it as what it is: --model={repo_id}.",
            )
        _refuse_other_adapter(path, manifest, adapters, repo_id, api)
    elif adapters:
        raise UsageError(f"{path} evaluated a base model only; {repo_id} is an adapter.", "Evaluate with --adapter.")
    else:
        _refuse_other_whole_model(path, manifest, files, repo_id, api)


def _refuse_other_adapter(
    path: Path, manifest: Mapping[str, Any], files: Sequence[RepoFile], repo_id: str, api: HfApi
) -> None:
    adapter: Mapping[str, Any] = manifest["adapter"]
    if not files:
        raise UsageError(f"{repo_id} holds no adapter whose results these could be.", _PUBLISH)
    if _is_served(adapter):
        raise UsageError(
            f"{path} evaluated an adapter behind a server, and nobody can see that it is that of {repo_id}.",
            "Evaluate what is published, or the training run's folder.",
        )
    if adapter.get("weights") not in {_sha256(file, repo_id, api) for file in files}:
        if is_commit(adapter.get("revision")) and is_hub_id(adapter["id"]) and adapter["id"] != repo_id:
            raise UsageError(
                f"{path} evaluated the adapter {adapter['id']}, whose weights are not those of {repo_id}.",
                f"Use --hub-model-id={adapter['id']}.",
            )
        raise UsageError(
            f"{path} evaluated other weights than those of {repo_id}.",
            "Publish the training run that was evaluated, or evaluate what is published.",
        )
    _refuse_other_base(path, manifest, repo_id, api)


def _refuse_other_base(path: Path, manifest: Mapping[str, Any], repo_id: str, api: HfApi) -> None:
    """Where the weights of both bases are known: of that which was evaluated, and of that which the adapter was trained
    on, by the manifest beside it."""
    if not api.file_exists(repo_id, MANIFEST):
        return
    try:
        trained = read_manifest(Path(api.hf_hub_download(repo_id, MANIFEST)).parent)
    except RunError:
        return
    base, evaluated = trained.get("model") or {}, manifest.get("model") or {}
    on_hub = is_commit(base.get("revision")) and is_commit(evaluated.get("revision"))
    if on_hub and (base["id"], base["revision"]) == (evaluated["id"], evaluated["revision"]):
        return
    own, others = _base_weights(trained, api), _base_weights(manifest, api)
    if any(own[name] != others[name] for name in own.keys() & others.keys()):
        raise UsageError(
            f"{path} evaluated the adapter on another base than that of {repo_id}: the weights of "
            f"{evaluated['id']} are others.",
            "Evaluate it on the base that it was trained on.",
        )


def _base_weights(manifest: Mapping[str, Any], api: HfApi) -> Mapping[str, str]:
    """The SHA-256 of each file with weights of a run's base, by its name; nothing where they are not known."""
    model: Mapping[str, Any] = manifest.get("model") or {}
    if not (is_commit(model.get("revision")) and is_hub_id(model.get("id"))):
        return manifest.get("model_weights") or {}
    try:
        return _digests(api, model["id"], model["revision"])
    except (RepositoryNotFoundError, RevisionNotFoundError):
        return {}


def _refuse_other_whole_model(
    path: Path, manifest: Mapping[str, Any], files: Sequence[RepoFile], repo_id: str, api: HfApi
) -> None:
    model: Mapping[str, Any] = manifest.get("model") or {}
    if not files:
        raise UsageError(f"{repo_id} holds no model whose results these could be.", _PUBLISH)
    if _is_served(model):
        raise UsageError(
            f"{path} evaluated a model behind a server, and nobody can see that it is that of {repo_id}.",
            "Evaluate what is published, or its folder.",
        )
    evaluated: Mapping[str, str] = manifest.get("model_weights") or {}
    if is_commit(model.get("revision")):
        if model["id"] != repo_id:
            raise UsageError(
                f"{path} evaluated the model {model['id']}, not {repo_id}.", f"Use --hub-model-id={model['id']}."
            )
        evaluated = _base_weights(manifest, api)
    elif not evaluated:
        raise UsageError(
            f"{path} does not say which weights it evaluated, so nobody can see that they are those of {repo_id}.",
            "Evaluate the model again, into another --output.",
        )
    if any(evaluated.get(file.path) != _sha256(file, repo_id, api) for file in files):
        raise UsageError(f"{path} evaluated other weights than those of {repo_id}.", _EVALUATE)


def _is_served(model: Mapping[str, Any]) -> bool:
    return str(model.get("id")).startswith(("http://", "https://"))


def _weights(api: HfApi, repo_id: str, revision: str | None = None) -> list[RepoFile]:
    """The files with weights at the root of a repository; where some are in safetensors, only these."""
    tree = api.list_repo_tree(repo_id, revision=revision)
    files = [file for file in tree if isinstance(file, RepoFile) and file.path.endswith(WEIGHTS)]
    return [file for file in files if file.path.endswith(WEIGHTS[0])] or files


def _digests(api: HfApi, repo_id: str, revision: str) -> dict[str, str]:
    return {file.path: _sha256(file, repo_id, api, revision) for file in _weights(api, repo_id, revision)}


def _sha256(file: RepoFile, repo_id: str, api: HfApi, revision: str | None = None) -> str:
    if file.lfs:
        return file.lfs.sha256
    content = Path(api.hf_hub_download(repo_id, file.path, revision=revision)).read_bytes()
    return hashlib.sha256(content).hexdigest()
