"""Whether results are those of the model in a repository, into whose card they are to go."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi
from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.hf_api import RepoFile

from mmpref.errors import UsageError
from mmpref.hub_ids import is_commit, is_hub_id
from mmpref.run.manifest import WEIGHTS

_ADAPTER = ("adapter_model.safetensors", "adapter_model.bin")
_PUBLISH = "Publish the training run first, or check --hub-model-id."
_EVALUATE = "Publish the model that was evaluated, or evaluate what is published."


def refuse_other_model(path: Path, manifest: Mapping[str, Any], repo_id: str, api: HfApi) -> None:
    """Refuse results of another model than the repository's. An adapter is told by its weights; a whole model by its id
    and commit, or by the weights of the folder that was evaluated.

    Args:
        path: of the evaluation.
        manifest: of it.

    Raises:
        UsageError: there is no such repository, or it holds another model or adapter, or none, or one where nobody can
            see that it was evaluated.
    """
    adapter: Mapping[str, Any] = manifest.get("adapter") or {}
    if is_commit(adapter.get("revision")) and is_hub_id(adapter.get("id")) and adapter["id"] != repo_id:
        raise UsageError(
            f"{path} evaluated the adapter {adapter['id']}, not {repo_id}.", f"Use --hub-model-id={adapter['id']}."
        )
    try:
        files = _weights(api, repo_id)
    except RepositoryNotFoundError as error:
        raise UsageError(f"There is no model repository {repo_id} whose results these could be.", _PUBLISH) from error
    adapters = [file for file in files if file.path in _ADAPTER]
    if adapter:
        if files and not adapters:
            raise UsageError(
                f"{path} evaluated an adapter; {repo_id} is a whole model.",
                f"Evaluate it as what it is: --model={repo_id}.",
            )
        _refuse_other_adapter(path, adapter, adapters, repo_id, api)
    elif adapters:
        raise UsageError(f"{path} evaluated a base model only; {repo_id} is an adapter.", "Evaluate with --adapter.")
    else:
        _refuse_other_whole_model(path, manifest, files, repo_id, api)


def _refuse_other_adapter(
    path: Path, adapter: Mapping[str, Any], files: Sequence[RepoFile], repo_id: str, api: HfApi
) -> None:
    if not files:
        raise UsageError(f"{repo_id} holds no adapter whose results these could be.", _PUBLISH)
    if _is_served(adapter):
        raise UsageError(
            f"{path} evaluated an adapter behind a server, and nobody can see that it is that of {repo_id}.",
            "Evaluate what is published, or the training run's folder.",
        )
    if adapter.get("weights") not in {_sha256(file, repo_id, api) for file in files}:
        raise UsageError(
            f"{path} evaluated other weights than those of {repo_id}.",
            "Publish the training run that was evaluated, or evaluate what is published.",
        )


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
        try:
            then = _weights(api, repo_id, model["revision"])
        except RevisionNotFoundError:
            then = []
        evaluated = {file.path: _sha256(file, repo_id, api, model["revision"]) for file in then}
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


def _sha256(file: RepoFile, repo_id: str, api: HfApi, revision: str | None = None) -> str:
    if file.lfs:
        return file.lfs.sha256
    content = Path(api.hf_hub_download(repo_id, file.path, revision=revision)).read_bytes()
    return hashlib.sha256(content).hexdigest()
