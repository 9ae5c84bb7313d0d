"""Errors as the Hub sends them: a JSON body, and the headers by which clients choose an exception class."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response


class HubFault(Exception):
    """An HTTP error answer. `code` becomes X-Error-Code, `extra` joins the JSON body."""

    def __init__(self, status: int, message: str, code: str = "", **extra: object) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.extra = status, message, code, extra


async def answer_fault(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, HubFault)
    headers = {"X-Error-Message": exc.message.replace("\n", " ")}
    if exc.code:
        headers["X-Error-Code"] = exc.code
    return JSONResponse({"error": exc.message, **exc.extra}, exc.status, headers)


def repo_not_found(authenticated: bool) -> HubFault:
    """Missing and forbidden look alike: an anonymous caller gets 401, a known one 404."""
    if authenticated:
        return HubFault(404, "Repository not found", "RepoNotFound")
    return HubFault(401, "Invalid username or password.", "RepoNotFound")


def revision_not_found(revision: str) -> HubFault:
    return HubFault(404, f"Invalid rev id: {revision}", "RevisionNotFound")


def entry_not_found(path: str) -> HubFault:
    return HubFault(404, f'"{path}" does not exist', "EntryNotFound")
