"""Reading and making repositories: whoami, create, info, tree, paths-info, refs, commits, branches, tags."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qs, urlencode

import yaml
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from .access import PREFIX, account_of, param, readable_repo, store_of, writable_repo, writer
from .benchmarks import benchmark_tags, results_of
from .cards import read_metadata
from .errors import HubFault, entry_not_found
from .store import Commit, Entry, Repo, Store, pointer_text

SDKS = ("gradio", "docker", "static")


async def whoami(request: Request) -> Response:
    account = account_of(request)
    if account is None or account.only:
        raise HubFault(401, "Invalid username or password.")
    orgs = [{"type": "org", "name": name, "roleInOrg": "write"} for name in account.orgs]
    token: dict[str, Any] = {"displayName": "test", "role": account.role}
    if account.role == "fineGrained":
        token["fineGrained"] = {"scoped": [dict(scope) for scope in account.scopes]}
    auth = {"type": "access_token", "accessToken": token}
    return JSONResponse({"type": "user", "name": account.name, "orgs": orgs, "auth": auth})


async def exchange(request: Request) -> Response:
    """A CI job's identity token against a token for the one repository that trusts the job."""
    body, store = await request.json(), store_of(request)
    resource = body["resource"]
    if store.publishers.get(body["subject_token"]) != resource:
        raise HubFault(400, "invalid_grant")
    repo_id = resource.removeprefix("datasets/")
    token = store.add_user(repo_id.split("/")[0], only=("model" if repo_id == resource else "dataset", repo_id))
    return JSONResponse({"access_token": token, "token_type": "bearer", "expires_in": 3600})


async def create(request: Request) -> Response:
    account, body = writer(request), await request.json()
    if account.only:
        raise HubFault(401, "This token cannot create repositories")
    namespace = body.get("organization") or account.name
    if not account.may_enter(namespace):
        raise HubFault(403, f"Forbidden: you do not belong to {namespace}")
    kind = body.get("type") or "model"
    repo_id = f"{namespace}/{body['name']}"
    url = f"{request.base_url}{PREFIX[kind]}{repo_id}"
    if kind == "space" and body.get("sdk") not in SDKS:
        raise HubFault(400, f'"sdk" must be one of {", ".join(SDKS)}')
    try:
        repo = store_of(request).create_repo(kind, repo_id, body.get("visibility") == "private", account.name)
        repo.sdk = body.get("sdk")
    except HubFault as exc:
        raise HubFault(exc.status, exc.message, url=url) from exc
    return JSONResponse({"url": url, "name": repo_id, "id": repo_id})


def _entry(path: str, entry: Entry) -> dict[str, Any]:
    row: dict[str, Any] = {"type": "file", "oid": entry.oid, "size": entry.size, "path": path}
    if entry.sha256:
        pointer = len(pointer_text(entry.sha256, entry.size))
        row["lfs"] = {"oid": entry.sha256, "size": entry.size, "pointerSize": pointer}
    return row


def _sibling(path: str, entry: Entry, blobs: bool) -> dict[str, Any]:
    if not blobs:
        return {"rfilename": path}
    shown = _entry(path, entry)
    row = {"rfilename": path, "size": entry.size, "blobId": entry.oid}
    if entry.sha256:
        row["lfs"] = {"sha256": entry.sha256, "size": entry.size, "pointerSize": shown["lfs"]["pointerSize"]}
    return row


def _card_data(store: Store, commit: Commit) -> dict[str, Any]:
    readme = commit.tree.get("README.md")
    try:
        return read_metadata(store.file_of(readme).read_text()) if readme else {}
    except yaml.YAMLError:
        return {}


async def info(request: Request) -> Response:
    repo = readable_repo(request)
    commit = repo.commit_at(param(request, "rev") if "rev" in request.path_params else "main")
    blobs = request.query_params.get("blobs", "").lower() in ("true", "1")
    store = store_of(request)
    card = _card_data(store, commit)
    row = {
        "_id": repo.id,
        "id": repo.id,
        "author": repo.id.split("/")[0],
        "sha": commit.id,
        "private": repo.private,
        "gated": repo.gated or False,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "createdAt": repo.created,
        "lastModified": commit.date,
        "tags": [*(card.get("tags") or []), *benchmark_tags(store, repo, commit)],
        "cardData": card,
        **({"sdk": repo.sdk} if repo.sdk else {}),
        "siblings": [_sibling(path, commit.tree[path], blobs) for path in sorted(commit.tree)],
    }
    wanted = request.query_params.getlist("expand") + request.query_params.getlist("expand[]")
    if wanted:
        row["evalResults"] = list(results_of(store, repo, commit))
        row = {key: row[key] for key in ("_id", "id", *wanted) if key in row}
    return JSONResponse(row)


def _listing(commit: Commit, folder: str, recursive: bool) -> list[dict[str, Any]]:
    """Files and folders below `folder`, sorted by path."""
    prefix = f"{folder}/" if folder else ""
    rows: dict[str, dict[str, Any]] = {}
    for path, entry in commit.tree.items():
        if not path.startswith(prefix):
            continue
        steps = path[len(prefix) :].split("/")
        for depth in range(1, len(steps)) if recursive else range(1, min(2, len(steps))):
            name = prefix + "/".join(steps[:depth])
            rows[name] = {"type": "directory", "oid": commit.id, "size": 0, "path": name}
        if recursive or len(steps) == 1:
            rows[path] = _entry(path, entry)
    return [rows[path] for path in sorted(rows)]


def _page(request: Request, rows: Sequence[Any], limit: int) -> Response:
    """One page of `rows`; the next one's address goes into the Link header."""
    start = int(request.query_params.get("cursor", "0"))
    headers = {"X-Total-Count": str(len(rows))}
    if start + limit < len(rows):
        query = [(k, v) for k, v in request.query_params.multi_items() if k != "cursor"]
        path = request.scope["raw_path"].decode()
        path = f"{str(request.base_url).rstrip('/')}{path}"
        headers["Link"] = f'<{path}?{urlencode([*query, ("cursor", start + limit)])}>; rel="next"'
    return JSONResponse(list(rows[start : start + limit]), headers=headers)


async def tree(request: Request) -> Response:
    repo = readable_repo(request)
    commit = repo.commit_at(param(request, "rev"))
    folder = param(request, "path").strip("/") if "path" in request.path_params else ""
    recursive = request.query_params.get("recursive", "").lower() in ("true", "1")
    rows = _listing(commit, folder, recursive)
    if folder and not rows:
        raise entry_not_found(folder)
    if request.query_params.get("expand", "").lower() in ("true", "1"):
        last = {"id": commit.id, "title": commit.title, "date": commit.date}
        rows = [row | {"lastCommit": last} for row in rows]
    ceiling = request.app.state.page_size
    return _page(request, rows, min(ceiling, int(request.query_params.get("limit", ceiling))))


async def paths_info(request: Request) -> Response:
    repo = readable_repo(request)
    commit = repo.commit_at(param(request, "rev"))
    form = parse_qs((await request.body()).decode())
    wanted = [path.strip("/") for path in form.get("paths", [])]
    known = {row["path"]: row for row in _listing(commit, "", True)}
    return JSONResponse([known[path] for path in wanted if path in known])


def _refs(repo: Repo, prefix: str, short: bool) -> list[dict[str, str]]:
    found = [(ref, sha) for ref, sha in sorted(repo.refs.items()) if ref.startswith(prefix)]
    return [{"name": r.removeprefix(prefix) if short else r, "ref": r, "targetCommit": s} for r, s in found]


async def refs(request: Request) -> Response:
    repo = readable_repo(request)
    heads, tags = _refs(repo, "refs/heads/", True), _refs(repo, "refs/tags/", True)
    pulls = _refs(repo, "refs/pr/", False) if request.query_params.get("include_prs") else []
    return JSONResponse({"branches": heads, "converts": [], "tags": tags, "pullRequests": pulls})


async def commits(request: Request) -> Response:
    repo = readable_repo(request)
    rows = [
        {"id": c.id, "title": c.title, "message": c.message, "date": c.date, "authors": [{"user": c.author}]}
        for c in repo.history(param(request, "rev"))
    ]
    return _page(request, rows, int(request.query_params.get("limit", "50")))


def _new_ref(repo: Repo, ref: str, revision: str) -> Response:
    target = repo.commit_at(revision)
    if ref in repo.refs:
        raise HubFault(409, f"Reference already exists: {ref}")
    repo.refs[ref] = target.id
    return JSONResponse({"ref": ref})


async def create_branch(request: Request) -> Response:
    repo, _ = writable_repo(request)
    start = (await request.json()).get("startingPoint") if await request.body() else None
    return _new_ref(repo, f"refs/heads/{param(request, 'rev')}", start or "main")


async def create_tag(request: Request) -> Response:
    repo, _ = writable_repo(request)
    return _new_ref(repo, f"refs/tags/{(await request.json())['tag']}", param(request, "rev"))


def _drop_ref(repo: Repo, ref: str) -> Response:
    if ref == "refs/heads/main":
        raise HubFault(403, "main is protected")
    if repo.refs.pop(ref, None) is None:
        raise HubFault(404, f"No such reference: {ref}", "RevisionNotFound")
    return JSONResponse({"success": True})


async def delete_branch(request: Request) -> Response:
    return _drop_ref(writable_repo(request)[0], f"refs/heads/{param(request, 'rev')}")


async def delete_tag(request: Request) -> Response:
    return _drop_ref(writable_repo(request)[0], f"refs/tags/{param(request, 'rev')}")
