"""The LFS transfer: batch, single PUT, multipart PUTs with completion, verify.

Upload addresses carry a random ticket, as signed storage addresses do, and need no token.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from math import ceil

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from .access import param, readable_repo, store_of, writer
from .errors import HubFault
from .store import Repo


@dataclass
class Upload:
    repo: Repo
    sha256: str
    parts: dict[int, bytes] = field(default_factory=dict)


async def batch(request: Request) -> Response:
    repo, body = readable_repo(request), await request.json()
    writer(request)
    uploads: dict[str, Upload] = request.app.state.uploads
    chunk: int = request.app.state.multipart_chunk
    root, objects, multipart = str(request.base_url).rstrip("/"), [], False
    for wanted in body["objects"]:
        oid, size = wanted["oid"], wanted["size"]
        row: dict[str, object] = {"oid": oid, "size": size, "authenticated": True}
        if oid not in repo.lfs_objects:
            ticket = secrets.token_hex(12)
            uploads[ticket] = Upload(repo, oid)
            upload: dict[str, object] = {"href": f"{root}/_lfs/{ticket}"}
            if size > chunk and "multipart" in body.get("transfers", ["basic"]):
                multipart = True
                parts = range(1, ceil(size / chunk) + 1)
                header = {"chunk_size": str(chunk)} | {f"{n:05d}": f"{root}/_lfs/{ticket}/{n}" for n in parts}
                upload = {"href": f"{root}/_lfs/{ticket}/complete", "header": header}
            path = request.url.path.removesuffix("/objects/batch")
            row["actions"] = {"upload": upload, "verify": {"href": f"{root}{path}/verify"}}
        objects.append(row)
    answer = {"transfer": "multipart" if multipart else "basic", "objects": objects, "hash_algo": "sha256"}
    return JSONResponse(answer, media_type="application/vnd.git-lfs+json")


def _upload(request: Request) -> Upload:
    uploads: dict[str, Upload] = request.app.state.uploads
    ticket = param(request, "ticket")
    if ticket not in uploads:
        raise HubFault(403, "This upload address is not valid")
    return uploads[ticket]


async def put_single(request: Request) -> Response:
    upload = _upload(request)
    store_of(request).put_object(upload.repo, upload.sha256, await request.body())
    return Response()


async def put_part(request: Request) -> Response:
    part = int(param(request, "part"))
    _upload(request).parts[part] = await request.body()
    return Response(headers={"ETag": f'"part-{part}"'})


async def complete(request: Request) -> Response:
    upload, body = _upload(request), await request.json()
    named = [(part["partNumber"], part["etag"]) for part in body["parts"]]
    if body["oid"] != upload.sha256 or named != [(n, f'"part-{n}"') for n in sorted(upload.parts)]:
        raise HubFault(400, "The completion does not name the parts that were uploaded")
    content = b"".join(upload.parts[n] for n in sorted(upload.parts))
    store_of(request).put_object(upload.repo, upload.sha256, content)
    return JSONResponse({"success": True})


async def verify(request: Request) -> Response:
    repo, store, body = readable_repo(request), store_of(request), await request.json()
    writer(request)
    if body["oid"] not in repo.lfs_objects or (store.objects / body["oid"]).stat().st_size != body["size"]:
        raise HubFault(404, f"Object {body['oid']} is not here")
    return JSONResponse({})
