"""Benchmarks (https://huggingface.co/docs/hub/eval-results): ``eval.yaml`` of a dataset, checked when it is pushed;
results of models in ``.eval_results``, with what is wrong with them; the leaderboard."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from .access import readable_repo, store_of
from .cards import read_metadata
from .errors import HubFault
from .store import Commit, Repo, Store

DECLARATION, RESULTS = "eval.yaml", ".eval_results/"


def wrong_declaration(content: str, frameworks: set[str]) -> str:
    """What is wrong with an ``eval.yaml``; "" where it is sound."""
    try:
        data = yaml.load(content, yaml.BaseLoader)  # dates that PyYAML refuses are texts to the Hub
    except yaml.YAMLError as error:
        return f"not YAML: {error}"
    if not isinstance(data, dict) or not all(isinstance(data.get(key), str) for key in ("name", "description")):
        return "name and description are required"
    if data.get("evaluation_framework") not in frameworks:
        return f"evaluation_framework must be one of {', '.join(sorted(frameworks))}"
    tasks = data.get("tasks")
    ids = [task.get("id") if isinstance(task, dict) else None for task in tasks] if isinstance(tasks, list) else []
    return "" if ids and all(ids) and len(set(ids)) == len(ids) else "tasks must be a list, each with an id of its own"


def declared(store: Store, commit: Commit) -> dict[str, Any]:
    """What the ``eval.yaml`` of a dataset declares; nothing where it has none."""
    entry = commit.tree.get(DECLARATION)
    return yaml.load(store.file_of(entry).read_text(), yaml.BaseLoader) if entry else {}


def benchmark_tags(store: Store, repo: Repo, commit: Commit) -> list[str]:
    """``benchmark:official`` is the Hub's to give, to datasets on its list."""
    if repo.kind != "dataset" or not declared(store, commit):
        return []
    return ["benchmark:official"] * (repo.id in store.benchmarks) + ["benchmark:eval-yaml"]


def _wrong_result(store: Store, entry: dict[str, Any]) -> str:
    data, source = entry.get("dataset") or {}, entry.get("source")
    repo = store.repos.get(("dataset", data.get("id", "")))
    if repo is None or repo.id not in store.benchmarks:
        return f"{data.get('id')} is not a benchmark"
    if data.get("task_id") not in [task["id"] for task in declared(store, repo.commit_at("main"))["tasks"]]:
        return f"{data.get('task_id')} is no task of {repo.id}"
    if not isinstance(entry.get("value"), int | float):
        return "value is required"
    return "source.url is required" if source is not None and not source.get("url") else ""


def results_of(store: Store, repo: Repo, commit: Commit) -> Iterator[dict[str, Any]]:
    """The entries of a model's ``.eval_results``, as ``expand=evalResults`` shows them."""
    for path in sorted(commit.tree):
        if repo.kind != "model" or not (path.startswith(RESULTS) and path.endswith(".yaml")):
            continue
        for entry in yaml.safe_load(store.file_of(commit.tree[path]).read_text()):
            wrong = _wrong_result(store, entry)
            yield {"filename": path, **({"error": wrong} if wrong else {"verified": False, "data": entry})}


def _rows(store: Store, benchmark: Repo, all_models: bool) -> Iterator[dict[str, Any]]:
    for repo in [repo for repo in store.repos.values() if repo.kind == "model" and not repo.private]:
        commit = repo.commit_at("main")
        card = commit.tree.get("README.md")
        if card and not all_models and read_metadata(store.file_of(card).read_text()).get("base_model"):
            continue
        for row in results_of(store, repo, commit):
            if row.get("data", {}).get("dataset", {}).get("id") == benchmark.id:
                yield {
                    "modelId": repo.id,
                    "value": row["data"]["value"],
                    "filename": row["filename"],
                    "verified": False,
                    "source": row["data"].get("source"),
                    "notes": row["data"].get("notes"),
                    "author": {"type": "user", "name": repo.id.split("/")[0], "fullname": "", "avatarUrl": ""},
                }


async def leaderboard(request: Request) -> Response:
    store, repo = store_of(request), readable_repo(request)
    if repo.id not in store.benchmarks:
        raise HubFault(404, f"{repo.id} has no leaderboard")
    rows = _rows(store, repo, request.query_params.get("base_model", "").lower() == "false")
    ordered = sorted(rows, key=lambda row: -row["value"])
    return JSONResponse([{"rank": rank, **row} for rank, row in enumerate(ordered, start=1)])
