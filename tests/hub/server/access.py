"""Who asks, and whether they may: tokens to accounts, requests to repositories."""

from __future__ import annotations

from urllib.parse import unquote

from starlette.requests import Request

from .errors import HubFault, repo_not_found
from .store import Account, Repo, Store

KINDS = {"models": "model", "datasets": "dataset", "spaces": "space"}
PREFIX = {"model": "", "dataset": "datasets/", "space": "spaces/"}


def store_of(request: Request) -> Store:
    store = request.app.state.store
    assert isinstance(store, Store)
    return store


def account_of(request: Request) -> Account | None:
    """The caller's account; None for an anonymous caller; 401 for a token that nobody has."""
    header = request.headers.get("authorization", "")
    if not header:
        return None
    account = store_of(request).accounts.get(header.removeprefix("Bearer ").strip())
    if account is None:
        raise HubFault(401, "Invalid credentials in Authorization header")
    return account


def param(request: Request, name: str) -> str:
    """A path parameter. Routing sees the raw path, so that a quoted slash stays inside its parameter."""
    return unquote(request.path_params[name])


def readable_repo(request: Request) -> Repo:
    account = account_of(request)
    kind = KINDS[request.path_params.get("kind", "models")]
    namespace = param(request, "ns")
    repo = store_of(request).repos.get((kind, f"{namespace}/{param(request, 'name')}"))
    if repo is None or (repo.private and not (account and account.may_enter(namespace))):
        raise repo_not_found(account is not None)
    return repo


def writer(request: Request) -> Account:
    account = account_of(request)
    if account is None:
        raise HubFault(401, "Invalid username or password.")
    if account.role != "write":
        raise HubFault(403, "Forbidden: pass a token with write access")
    return account


def writable_repo(request: Request) -> tuple[Repo, Account]:
    repo, account = readable_repo(request), writer(request)
    if not account.may_enter(repo.id.split("/")[0]) or account.only not in (None, (repo.kind, repo.id)):
        raise HubFault(403, f"Forbidden: you may not write to {repo.id}")
    return repo, account
