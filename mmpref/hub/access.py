"""Checked before the long work starts: is there a token, may it write, and to which full repository id."""

from __future__ import annotations

from typing import Any, Literal

from huggingface_hub import HfApi, constants, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OIDCError
from huggingface_hub.utils import validate_repo_id

from mmpref.errors import HubError, UsageError

from ._calls import Calls, Retry

LOG_IN = "Log in with `hf auth login`, or set HF_TOKEN to a token with write access."
READ_ONLY = ("read", "no_access")


def usual_token() -> str:
    """The token from the usual places (trusted publishing, HF_TOKEN, `hf auth login`).

    Raises:
        HubError: there is none.
    """
    try:
        token = get_token()
    except OIDCError as error:
        raise HubError(f"Trusted publishing failed: {' '.join(str(error).split())}.") from error
    if not token:
        raise HubError("There is no Hugging Face token.", LOG_IN)
    return token


def check_repo_id(repo_id: str) -> None:
    """Raises UsageError where `repo_id` is not an id that the Hub would take."""
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise UsageError(f"{repo_id!r} is not a valid repository id: {' '.join(str(error).split())}") from error


def check_access(
    repo_id: str | None,
    repo_type: Literal["dataset", "model"],
    *,
    token: str | None = None,
    endpoint: str | None = None,
    retry: Retry | None = None,
) -> str:
    """Check that pushing to `repo_id` can succeed, and return its full id.

    A name without a slash becomes "<whoami>/<name>"; None checks the token alone and returns the user's name.
    The repository need not exist. A fine-grained token must name the namespace or the repository with
    write permission; whether a resource group forbids it is known only to the Hub.

    Raises:
        UsageError: `repo_id` is not a valid id.
        HubError: no token, an unknown or read-only one, a namespace that is not the token's, or no answer.
    """
    if repo_id is not None:
        check_repo_id(repo_id)
    token = token or usual_token()
    where = endpoint or constants.ENDPOINT
    api, calls = HfApi(endpoint=where, token=token), Calls(where, where, token, retry or Retry(attempts=3))
    try:
        who = calls.run("ask the Hub whose token this is", api.whoami)
    except HubError as error:
        cause = error.__cause__
        if isinstance(cause, HfHubHTTPError) and cause.response.status_code == 401:
            raise HubError(f"{where} does not know this token.", LOG_IN) from error
        raise
    name = str(who["name"])
    full = name if repo_id is None else repo_id if "/" in repo_id else f"{name}/{repo_id}"
    namespace = full.split("/")[0]
    access = who.get("auth", {}).get("accessToken", {})
    if access.get("role") == "read":
        raise HubError(f"The token of {name} can only read.", LOG_IN)
    _check_namespace(who, name, namespace)
    if access.get("role") == "fineGrained" and not _fine_grained_write(access, namespace, full, repo_type):
        raise HubError(
            f"The fine-grained token of {name} has no write permission for {full}.",
            f"Give it write access to the repositories of {namespace}, or use a write token.",
        )
    return full


def _check_namespace(who: dict[str, Any], name: str, namespace: str) -> None:
    orgs = {org["name"]: org.get("roleInOrg") for org in who.get("orgs", [])}
    if namespace == name or (namespace in orgs and orgs[namespace] not in READ_ONLY):
        return
    if namespace in orgs:
        raise HubError(f"{name} may only read in the organization {namespace}.", "Ask its admins for write access.")
    yours = ", ".join([name, *sorted(org for org, role in orgs.items() if role not in READ_ONLY)])
    raise HubError(f"{name} does not belong to {namespace!r}.", f"You can push to: {yours}.")


def _fine_grained_write(access: dict[str, Any], namespace: str, repo_id: str, repo_type: str) -> bool:
    scopes = access.get("fineGrained", {}).get("scoped")
    if scopes is None:
        return True
    for scope in scopes:
        entity = scope.get("entity", {})
        about = (entity.get("type"), entity.get("name"))
        inside = about in (("user", namespace), ("org", namespace), (repo_type, repo_id))
        if inside and "repo.write" in scope.get("permissions", []):
            return True
    return False
