"""Faults on demand: the next calls of a named endpoint fail, hang, or lose their answer.

Every route has a name (see app.py). `Faults.add("commit", "lose")` makes the next commit succeed on the
server and drops the connection before the client hears of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.types import Receive, Scope, Send

from .commits import commit_by_somebody_else
from .errors import HubFault, answer_fault

Handler = Callable[[Request], Awaitable[Response]]
ACTIONS = ("status", "lose", "drop", "hang", "stall", "cut", "page", "move_head")
PAGE = "<html><head><title>Welcome</title></head><body>Sign in to this network.</body></html>"
"""What networks and gateways answer in a server's place, with status 200."""


class LostAnswer(Response):
    """Starts an answer and stops: the server closes the connection, the client has half a response."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"application/json"), (b"content-length", b"4096")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"{", "more_body": True})


@dataclass
class Fault:
    """What the calls numbered `skip` to `skip + times - 1` of an endpoint meet.

    action: `status` answers `status` with `headers` and leaves the call undone; `lose` does it and loses the
    answer; `drop` leaves it undone and loses the answer; `hang` waits until `released` is set, then does it;
    `stall` does it, and keeps the answer back until `released` is set; `cut` does it and answers with the first half
    of the body, in a length that says that this is all; `page` leaves it undone and answers with another's page;
    `move_head` first commits somebody else's file to the branch, so that a given parent is stale.
    """

    action: str
    status: int = 500
    headers: dict[str, str] = field(default_factory=dict)
    times: int = 1
    skip: int = 0
    reached: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        if self.action not in ACTIONS:
            raise ValueError(f"unknown action {self.action!r}; one of {ACTIONS}")


class Faults:
    """The faults in wait, by endpoint name, and a log of all calls as (endpoint, method, path, status)."""

    def __init__(self) -> None:
        self.waiting: dict[str, list[Fault]] = {}
        self.log: list[tuple[str, str, str, int]] = []

    def add(self, endpoint: str, action: str, **options: object) -> Fault:
        fault = Fault(action, **options)  # type: ignore[arg-type]
        self.waiting.setdefault(endpoint, []).append(fault)
        return fault

    def clear(self) -> None:
        for fault in [f for row in self.waiting.values() for f in row]:
            fault.released.set()
        self.waiting.clear()
        self.log.clear()

    def calls(self, endpoint: str) -> list[int]:
        """Statuses answered by `endpoint` since the last `clear`; 0 where the answer was lost."""
        return [status for name, _, _, status in self.log if name == endpoint]

    def take(self, endpoint: str) -> Fault | None:
        for fault in self.waiting.get(endpoint, []):
            if fault.skip:
                fault.skip -= 1
                return None
            if fault.times:
                fault.times -= 1
                if fault.action != "stall":  # whose call is still to be done
                    fault.reached.set()
                return fault
        return None

    async def call(self, endpoint: str, handler: Handler, request: Request) -> Response:
        fault = self.take(endpoint)
        try:
            response = await (handler(request) if fault is None else _meet(fault, handler, request))
        except HubFault as exc:
            response = await answer_fault(request, exc)
        status = 0 if isinstance(response, LostAnswer) else response.status_code
        self.log.append((endpoint, request.method, request.url.path, status))
        return response


async def _meet(fault: Fault, handler: Handler, request: Request) -> Response:
    if fault.action == "status":
        return JSONResponse({"error": f"fault on demand ({fault.status})"}, fault.status, fault.headers)
    if fault.action == "drop":
        return LostAnswer()
    if fault.action == "lose":
        with contextlib.suppress(HubFault):  # a refusal is an answer too, and is lost like one
            await handler(request)
        return LostAnswer()
    if fault.action == "page":
        return HTMLResponse(PAGE)
    if fault.action == "cut":
        return _cut(await handler(request))
    if fault.action == "stall":
        response = await handler(request)
        fault.reached.set()
        while not fault.released.is_set():
            await asyncio.sleep(0.02)
        return response
    if fault.action == "move_head":
        commit_by_somebody_else(request)
    if fault.action == "hang":
        await request.body()  # all of it is here, whatever becomes of the client
    while fault.action == "hang" and not fault.released.is_set():
        await asyncio.sleep(0.02)
    return await handler(request)


def _cut(response: Response) -> Response:
    content = Path(response.path).read_bytes() if isinstance(response, FileResponse) else bytes(response.body)
    headers = {name: value for name, value in response.headers.items() if name != "content-length"}
    return Response(content[: len(content) // 2], response.status_code, headers)
