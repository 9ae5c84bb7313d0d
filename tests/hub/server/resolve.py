"""Serving files: HEAD and GET of resolve, with the headers that the clients' caches live on."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import FileResponse, Response

from .access import param, readable_repo, store_of


async def resolve(request: Request) -> Response:
    repo = readable_repo(request)
    commit, entry = repo.entry(param(request, "rev"), param(request, "path"))
    headers = {"X-Repo-Commit": commit.id, "ETag": f'"{entry.sha256 or entry.oid}"', "Accept-Ranges": "bytes"}
    if entry.sha256:
        # The bytes come from here with status 200: a redirect to the same origin would lose X-Repo-Commit.
        headers |= {"X-Linked-Etag": f'"{entry.sha256}"', "X-Linked-Size": str(entry.size)}
    return FileResponse(store_of(request).file_of(entry), headers=headers)
