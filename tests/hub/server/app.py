"""The route table. Each route has a name, by which faults are set and calls are counted."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from . import benchmarks, cards, collections, commits, lfs, pulls, repos, resolve
from .errors import HubFault, answer_fault
from .faults import Faults, Handler
from .store import Store

REPO = "/api/{kind}/{ns}/{name}"
COLLECTION = "/api/collections/{ns}/{slug}"
FILES = ("/{ns}/{name}", "/{kind}/{ns}/{name}")


async def agent_harnesses(request: Request) -> Response:
    return JSONResponse({})


async def control(request: Request) -> Response:
    """POST {"endpoint", "action", ...} sets a fault, GET shows the calls so far, DELETE forgets both."""
    faults: Faults = request.app.state.faults
    if request.method == "POST":
        body = await request.json()
        faults.add(body.pop("endpoint"), body.pop("action"), **body)
    elif request.method == "DELETE":
        faults.clear()
    return JSONResponse({"calls": faults.log})


async def not_here(request: Request) -> Response:
    raise HubFault(404, f"No such page: {request.url.path}", "EntryNotFound")


TABLE: list[tuple[str, str, str, Handler]] = [
    ("agent_harnesses", "GET", "/api/agent-harnesses", agent_harnesses),
    ("whoami", "GET", "/api/whoami-v2", repos.whoami),
    ("oauth", "POST", "/oauth/token", repos.exchange),
    ("create_repo", "POST", "/api/repos/create", repos.create),
    ("validate_yaml", "POST", "/api/validate-yaml", cards.validate_yaml),
    ("tree", "GET", REPO + "/tree/{rev}", repos.tree),
    ("tree", "GET", REPO + "/tree/{rev}/{path}", repos.tree),
    ("paths_info", "POST", REPO + "/paths-info/{rev}", repos.paths_info),
    ("refs", "GET", REPO + "/refs", repos.refs),
    ("commits", "GET", REPO + "/commits/{rev}", repos.commits),
    ("create_branch", "POST", REPO + "/branch/{rev}", repos.create_branch),
    ("delete_branch", "DELETE", REPO + "/branch/{rev}", repos.delete_branch),
    ("create_tag", "POST", REPO + "/tag/{rev}", repos.create_tag),
    ("delete_tag", "DELETE", REPO + "/tag/{rev}", repos.delete_tag),
    ("preupload", "POST", REPO + "/preupload/{rev}", commits.preupload),
    ("commit", "POST", REPO + "/commit/{rev}", commits.commit),
    ("pulls", "GET", REPO + "/discussions", pulls.list_pulls),
    ("create_pull", "POST", REPO + "/discussions", pulls.create_pull),
    ("pull", "GET", REPO + "/discussions/{num}", pulls.show_pull),
    ("pull_status", "POST", REPO + "/discussions/{num}/status", pulls.set_status),
    ("merge", "POST", REPO + "/discussions/{num}/merge", pulls.merge),
    ("leaderboard", "GET", REPO + "/leaderboard", benchmarks.leaderboard),
    ("create_collection", "POST", "/api/collections", collections.create),
    ("collections", "GET", "/api/collections", collections.search),
    ("collection", "GET", COLLECTION, collections.show),
    ("add_item", "POST", COLLECTION + "/items", collections.add_item),
    ("edit_item", "PATCH", COLLECTION + "/items/{item}", collections.edit_item),
    ("info", "GET", REPO + "/revision/{rev}", repos.info),
    ("info", "GET", REPO, repos.info),
    ("lfs_put", "PUT", "/_lfs/{ticket}", lfs.put_single),
    ("lfs_part", "PUT", "/_lfs/{ticket}/{part}", lfs.put_part),
    ("lfs_complete", "POST", "/_lfs/{ticket}/complete", lfs.complete),
    *(("lfs_batch", "POST", path + ".git/info/lfs/objects/batch", lfs.batch) for path in FILES),
    *(("lfs_verify", "POST", path + ".git/info/lfs/verify", lfs.verify) for path in FILES),
    *(("resolve", "GET", path + "/resolve/{rev}/{path:path}", resolve.resolve) for path in FILES),
]


class RawPath:
    """Routes on the path as sent: a slash that the client quoted (refs%2Fpr%2F1) does not split a segment."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope = scope | {"path": scope["raw_path"].decode("ascii")}
        await self.app(scope, receive, send)


def _route(name: str, method: str, path: str, handler: Handler) -> Route:
    async def endpoint(request: Request) -> Response:
        faults: Faults = request.app.state.faults
        return await faults.call(name, handler, request)

    return Route(path, endpoint, methods=[method])


def build_app(store: Store, faults: Faults, multipart_chunk: int, page_size: int) -> ASGIApp:
    steering = Route("/_control", control, methods=["GET", "POST", "DELETE"])
    elsewhere = _route("elsewhere", "GET", "/{path:path}", not_here)
    routes = [steering, *(_route(*row) for row in TABLE), elsewhere]
    app = Starlette(routes=routes, exception_handlers={HubFault: answer_fault})
    app.state.store, app.state.faults, app.state.uploads = store, faults, {}
    app.state.multipart_chunk, app.state.page_size = multipart_chunk, page_size
    return RawPath(app)
