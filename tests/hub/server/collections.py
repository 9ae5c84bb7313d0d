"""Collections: made by title, filled with repositories."""

from __future__ import annotations

import re
import secrets
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from .access import account_of, param, store_of, writer
from .errors import HubFault
from .store import Collection, now

NOTE, TITLE, DESCRIPTION = 500, 60, 150


def _shown(collection: Collection) -> dict[str, Any]:
    return {
        "slug": collection.slug,
        "title": collection.title,
        "description": collection.description,
        "owner": {"name": collection.slug.split("/")[0], "type": "user"},
        "items": collection.items,
        "lastUpdated": collection.updated,
        "position": 0,
        "private": collection.private,
        "theme": "green",
        "upvotes": 0,
    }


async def create(request: Request) -> Response:
    account, store, body = writer(request), store_of(request), await request.json()
    namespace, title = body["namespace"], body["title"]
    if account.only or not account.may_enter(namespace):
        raise HubFault(403, f"Forbidden: you may make no collection of {namespace}")
    if len(title) > TITLE or len(body.get("description") or "") > DESCRIPTION:
        raise HubFault(400, "The title or the description is too long")
    for collection in store.collections.values():
        if collection.slug.startswith(f"{namespace}/") and collection.title == title:
            raise HubFault(409, "You already have a collection of this title", slug=collection.slug)
    words = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
    slug = f"{namespace}/{words}-{secrets.token_hex(12)}"
    made = Collection(slug, title, body.get("description"), bool(body.get("private")))
    store.collections[slug] = made
    return JSONResponse(_shown(made))


async def search(request: Request) -> Response:
    account, owner = account_of(request), request.query_params["owner"]
    found = [one for one in store_of(request).collections.values() if one.slug.startswith(f"{owner}/")]
    seen = [one for one in found if not one.private or (account and account.may_enter(owner))]
    rows = [{**_shown(one), "items": one.items[:4]} for one in seen]
    return JSONResponse([{key: value for key, value in row.items() if key != "position"} for row in rows])


def _readable(request: Request) -> Collection:
    found = store_of(request).collections.get(f"{param(request, 'ns')}/{param(request, 'slug')}")
    account = account_of(request)
    if found is None or (found.private and not (account and account.may_enter(param(request, "ns")))):
        raise HubFault(404, "Collection not found")
    return found


def _writable(request: Request) -> Collection:
    found, account = _readable(request), writer(request)
    if account.only or not account.may_enter(param(request, "ns")):
        raise HubFault(403, "Forbidden: not your collection")
    return found


async def show(request: Request) -> Response:
    return JSONResponse(_shown(_readable(request)))


def _note(body: dict[str, Any]) -> dict[str, str] | None:
    note = body.get("note")
    if len(note or "") > NOTE:
        raise HubFault(400, "The note is too long")
    return {"text": note, "html": note} if note else None


async def add_item(request: Request) -> Response:
    collection, store, body = _writable(request), store_of(request), await request.json()
    kind, name = body["item"]["type"], body["item"]["id"]
    if (kind, name) not in store.repos:
        raise HubFault(404, f"There is no {kind} {name}", "RepoNotFound")
    if any((item["type"], item["id"]) == (kind, name) for item in collection.items):
        raise HubFault(409, f"{name} is in the collection already")
    item = {"_id": secrets.token_hex(12), "id": name, "type": kind, "position": len(collection.items)}
    collection.items.append({**item, "note": _note(body)})
    collection.updated = now()
    return JSONResponse(_shown(collection))


async def edit_item(request: Request) -> Response:
    collection, body = _writable(request), await request.json()
    item = next((item for item in collection.items if item["_id"] == param(request, "item")), None)
    if item is None:
        raise HubFault(404, "No such item")
    item["note"] = _note(body)
    return JSONResponse({"success": True})
