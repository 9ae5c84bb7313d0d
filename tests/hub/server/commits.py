"""Writing: preupload (LFS or regular), and the commit endpoint with its NDJSON operations."""

from __future__ import annotations

import base64
import binascii
import fnmatch
import json
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from .access import PREFIX, param, readable_repo, store_of, writable_repo, writer
from .benchmarks import DECLARATION, wrong_declaration
from .cards import problems
from .errors import HubFault, entry_not_found
from .pulls import open_pull
from .store import Entry, Repo, Store, Tree

REGULAR_LIMIT = 10 * 1024 * 1024


def _lfs_patterns(store: Store, repo: Repo, revision: str) -> list[str]:
    entry = repo.commit_at(revision).tree.get(".gitattributes")
    lines = store.file_of(entry).read_text().splitlines() if entry else []
    return [line.split()[0] for line in lines if "filter=lfs" in line]


def _ignored(text: str, path: str) -> bool:
    rules = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return any(fnmatch.fnmatch(path, r) or fnmatch.fnmatch(path.rsplit("/", 1)[-1], r) for r in rules)


async def preupload(request: Request) -> Response:
    repo = readable_repo(request) if request.query_params.get("create_pr") else writable_repo(request)[0]
    store, revision, body = store_of(request), param(request, "rev"), await request.json()
    tree, patterns = repo.commit_at(revision).tree, _lfs_patterns(store, repo, revision)
    ignore = body.get("gitIgnore")
    if ignore is None:
        ignore = store.file_of(tree[".gitignore"]).read_text() if ".gitignore" in tree else ""
    files = []
    for file in body["files"]:
        path, sample = file["path"], base64.b64decode(file["sample"])
        lfs = any(fnmatch.fnmatch(path.rsplit("/", 1)[-1], p) for p in patterns)
        lfs = lfs or file["size"] > REGULAR_LIMIT or b"\0" in sample
        old = tree.get(path)
        row = {
            "path": path,
            "uploadMode": "lfs" if lfs else "regular",
            "shouldIgnore": _ignored(ignore, path),
            **({"oid": old.sha256 or old.oid} if old else {}),
        }
        files.append(row)
    return JSONResponse({"files": files, "commitOid": repo.commit_at(revision).id})


def _apply(store: Store, repo: Repo, tree: Tree, key: str, value: dict[str, Any]) -> None:
    """Change `tree` by one NDJSON operation."""
    path = value["path"]
    if key == "file":
        try:
            content = base64.b64decode(value["content"], validate=True)
        except binascii.Error as exc:
            raise HubFault(400, f"{path}: the content is not base64") from exc
        if path == "README.md" and (wrong := list(problems(content.decode(), repo.kind))):
            raise HubFault(400, f"Invalid metadata in README.md: {'; '.join(wrong)}")
        if (
            path == DECLARATION
            and repo.kind == "dataset"
            and (wrong := wrong_declaration(content.decode(), store.frameworks))
        ):
            raise HubFault(400, f"Invalid {DECLARATION}: {wrong}")
        tree[path] = store.put_blob(content)
    elif key == "lfsFile":
        if value["oid"] not in repo.lfs_objects:
            raise HubFault(400, f"An LFS pointer pointed to a file that does not exist: {path}")
        tree[path] = Entry.lfs(value["oid"], (store.objects / value["oid"]).stat().st_size)
    elif key == "deletedFile":
        if path not in tree:
            raise entry_not_found(f"A file with this name doesn't exist: {path}")
        del tree[path]
    elif key == "deletedFolder":
        inside = [name for name in tree if name.startswith(path.rstrip("/") + "/")]
        if not inside:
            raise entry_not_found(path)
        for name in inside:
            del tree[name]
    else:
        raise HubFault(400, f"Unknown operation {key}")


async def commit(request: Request) -> Response:
    create_pr = bool(request.query_params.get("create_pr"))
    if create_pr:
        repo, account = readable_repo(request), writer(request)
    else:
        repo, account = writable_repo(request)
    store, revision = store_of(request), param(request, "rev")
    lines = [json.loads(line) for line in (await request.body()).splitlines() if line.strip()]
    if not lines or lines[0].get("key") != "header":
        raise HubFault(400, "The first line must be the header")
    header = lines[0]["value"]
    base = repo.commit_at(revision)
    ref = repo.ref_name(revision)
    if ref is None or ref.startswith("refs/tags/"):
        raise HubFault(400, f"Cannot commit to {revision}: not a branch")
    parent = header.get("parentCommit")
    if create_pr and parent:
        base = repo.commit_at(parent)
    elif parent and not base.id.startswith(parent):
        raise HubFault(412, "A commit has happened since. Please refresh and try again.")
    tree = dict(base.tree)
    for line in lines[1:]:
        _apply(store, repo, tree, line["key"], line["value"])
    title, message = header["summary"], header.get("description", "")
    pull = open_pull(repo, title, account.name, base.id, "open") if create_pr else None
    new = repo.add_commit(pull.ref if pull else ref, base.id, tree, title, message, account.name)
    url = f"{request.base_url}{PREFIX[repo.kind]}{repo.id}"
    answer = {"success": True, "commitOid": new.id, "commitUrl": f"{url}/commit/{new.id}", "hookOutput": ""}
    return JSONResponse(answer | ({"pullRequestUrl": f"{url}/discussions/{pull.num}"} if pull else {}))


def commit_by_somebody_else(request: Request) -> None:
    """Move the branch that `request` writes to, by a commit that adds one file."""
    repo, revision = readable_repo(request), param(request, "rev")
    head, ref = repo.commit_at(revision), repo.ref_name(revision)
    assert ref is not None
    tree = head.tree | {"NOTES.md": store_of(request).put_blob(f"after {head.id}\n".encode())}
    repo.add_commit(ref, head.id, tree, "somebody else's commit", "", "somebody")
