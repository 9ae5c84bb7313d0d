"""Pull requests: a branch refs/pr/N, opened, listed, closed, merged by one squash commit on main."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from .access import param, readable_repo, writable_repo, writer
from .errors import HubFault
from .store import PullRequest, Repo, now

PAGE = 50


def open_pull(repo: Repo, title: str, author: str, base: str, status: str) -> PullRequest:
    pull = PullRequest(len(repo.pulls) + 1, title, author, base, status, now())
    repo.pulls[pull.num] = pull
    repo.refs[pull.ref] = base
    return pull


def _shown(repo: Repo, pull: PullRequest) -> dict[str, Any]:
    return {
        "num": pull.num,
        "title": pull.title,
        "author": {"name": pull.author, "type": "user"},
        "createdAt": pull.created,
        "status": pull.status,
        "repo": {"name": repo.id, "type": repo.kind},
        "isPullRequest": True,
    }


def _event(pull: PullRequest) -> dict[str, Any]:
    return {
        "id": f"{pull.num:04x}{len(pull.status):04x}",
        "type": "status-change",
        "createdAt": now(),
        "author": {"name": pull.author},
        "data": {"status": pull.status},
    }


def _pull(request: Request, repo: Repo) -> PullRequest:
    num = param(request, "num")
    if not num.isdigit() or int(num) not in repo.pulls:
        raise HubFault(404, f"No discussion {num}")
    return repo.pulls[int(num)]


async def list_pulls(request: Request) -> Response:
    repo, query = readable_repo(request), request.query_params
    wanted = {"open": ("open", "draft"), "closed": ("closed", "merged")}.get(query.get("status", ""))
    rows = [p for p in repo.pulls.values() if wanted is None or p.status in wanted]
    rows = [p for p in rows if query.get("author") in (None, p.author)]
    rows = [] if query.get("type") == "discussion" else sorted(rows, key=lambda p: -p.num)
    start = PAGE * int(query.get("p", "0"))
    page = [_shown(repo, p) for p in rows[start : start + PAGE]]
    return JSONResponse({"discussions": page, "count": len(rows), "start": start})


async def create_pull(request: Request) -> Response:
    repo, account, body = readable_repo(request), writer(request), await request.json()
    if not body.get("pullRequest"):
        raise HubFault(400, "Only pull requests here, no plain discussions")
    pull = open_pull(repo, body["title"], account.name, repo.commit_at("main").id, "draft")
    return JSONResponse({"num": pull.num, "pullRequest": True}, 201)


async def show_pull(request: Request) -> Response:
    repo = readable_repo(request)
    pull = _pull(request, repo)
    changes = {"base": "refs/heads/main", "mergeCommitId": pull.merge_commit}
    details = {"changes": changes, "filesWithConflicts": [], "events": [], "diff": ""}
    return JSONResponse(_shown(repo, pull) | details)


async def set_status(request: Request) -> Response:
    repo, account = readable_repo(request), writer(request)
    pull, status = _pull(request, repo), (await request.json())["status"]
    if account.name != pull.author and not account.may_enter(repo.id.split("/")[0]):
        raise HubFault(403, "Forbidden: neither the author nor a member")
    if pull.status == "merged" or status not in ("open", "closed"):
        raise HubFault(400, f"Cannot go from {pull.status} to {status}")
    pull.status = status
    return JSONResponse({"newStatus": _event(pull)})


async def merge(request: Request) -> Response:
    repo, account = writable_repo(request)
    pull = _pull(request, repo)
    if pull.status != "open":
        raise HubFault(400, f"Cannot merge a pull request that is {pull.status}")
    base, head, mine = repo.commits[pull.base].tree, repo.commit_at("main"), repo.commit_at(pull.ref).tree
    touched = {path for path in base.keys() | mine.keys() if base.get(path) != mine.get(path)}
    conflicts = sorted(p for p in touched if head.tree.get(p) not in (base.get(p), mine.get(p)))
    if conflicts:
        raise HubFault(409, f"The pull request has conflicts in {', '.join(conflicts)}")
    tree = {path: entry for path, entry in head.tree.items() if path not in touched}
    tree |= {path: mine[path] for path in touched if path in mine}
    title = f"{pull.title} (#{pull.num})"
    pull.merge_commit = repo.add_commit("refs/heads/main", head.id, tree, title, "", account.name).id
    pull.status = "merged"
    return JSONResponse({"newStatus": _event(pull)})
