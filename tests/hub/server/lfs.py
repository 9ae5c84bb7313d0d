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


@dataclass
class Upload:
    sha256: str
    parts: dict[int, bytes] = field(default_factory=dict)


async def batch(request: Request) -> Response:
    readable_repo(request)
    writer(request)
    store, body = store_of(request), await request.json()
    uploads: dict[str, Upload] = request.app.state.uploads
    chunk: int = request.app.state.multipart_chunk
    root, objects, multipart = str(request.base_url).rstrip("/"), [], False
    for wanted in body["objects"]:
        oid, size = wanted["oid"], wanted["size"]
        row: dict[str, object] = {"oid": oid, "size": size, "authenticated": True}
        if not store.has_object(oid):
            ticket = secrets.token_hex(12)
            uploads[ticket] = Upload(oid)
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
    store_of(request).put_object(_upload(request).sha256, await request.body())
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
    store_of(request).put_object(upload.sha256, b"".join(upload.parts[n] for n in sorted(upload.parts)))
    return JSONResponse({"success": True})


async def verify(request: Request) -> Response:
    readable_repo(request)
    writer(request)
    store, body = store_of(request), await request.json()
    if not store.has_object(body["oid"]) or (store.objects / body["oid"]).stat().st_size != body["size"]:
        raise HubFault(404, f"Object {body['oid']} is not here")
    return JSONResponse({})
