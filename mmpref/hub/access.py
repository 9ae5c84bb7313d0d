"""Checked before the long work starts: is there a token, may it write, and to which full repository id."""

from __future__ import annotations

import os
from typing import Any, Literal

from huggingface_hub import HfApi, constants, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OIDCError
from huggingface_hub.utils import validate_repo_id

from mmpref.errors import HubError, UsageError
from mmpref.hub._calls import CALL_ERRORS, Calls, Retry

LOG_IN = "Log in with `hf auth login`, or set HF_TOKEN to a token with write access."
READ_ONLY = ("read", "no_access")
RepoType = Literal["dataset", "model", "space"]


def page_of(endpoint: str, repo_id: str, repo_type: RepoType) -> str:
    """Address of a repository."""
    return f"{endpoint}/{constants.REPO_TYPES_URL_PREFIXES.get(repo_type, '')}{repo_id}"


def usual_token() -> str:
    """The token from the usual places (trusted publishing, HF_TOKEN, `hf auth login`).

    Raises:
        HubError: there is none.
    """
    try:
        token = get_token()
    except (OIDCError, *CALL_ERRORS) as error:
        reason, resource = " ".join(str(error).split()), trusted_resource()
        if resource is None:
            raise HubError(f"The stored Hugging Face token cannot be read: {reason}", LOG_IN) from error
        raise HubError(
            f"No token for HF_OIDC_RESOURCE={resource}: {reason}",
            "Allow this workflow in the repository's settings, under Trusted Publishers, or unset the variable.",
        ) from error
    if not token:
        raise HubError("There is no Hugging Face token.", LOG_IN)
    return token


def trusted_resource() -> str | None:
    """What a CI job's exchanged token is for: "datasets/<ns>/<name>", "<ns>/<name>"; None outside of that."""
    return os.environ.get("HF_OIDC_RESOURCE") or None


def check_repo_id(repo_id: str) -> None:
    """Raises UsageError where `repo_id` is not an id that the Hub would take."""
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise UsageError(f"{repo_id!r} is not a valid repository id: {' '.join(str(error).split())}") from error


def check_access(
    repo_id: str | None,
    repo_type: RepoType,
    *,
    default_name: str = "",
    token: str | None = None,
    endpoint: str | None = None,
    retry: Retry | None = None,
) -> str:
    """Check that pushing to `repo_id` can succeed, and return its full id.

    A name without a slash becomes "<whoami>/<name>"; None stands for `default_name`. With neither the token
    alone is checked, and the user's name returned. The repository need not exist. A fine-grained token must
    name the namespace or the repository with write permission; whether a resource group forbids it is known
    only to the Hub. The token of a trusted publisher (HF_OIDC_RESOURCE) belongs to no user but to one
    repository, which must exist: None then means that one.

    Raises:
        UsageError: `repo_id` is not a valid id.
        HubError: no token, an unknown or read-only one, a namespace that is not the token's, or no answer.
    """
    name = repo_id or default_name
    if name:
        check_repo_id(name)
    where, resource = endpoint or constants.ENDPOINT, None if token else trusted_resource()
    token = token or usual_token()
    if resource:
        return _trusted_repository(resource, repo_id, repo_type, HfApi(endpoint=where, token=token), retry)
    api, calls = HfApi(endpoint=where, token=token), Calls(where, where, token, retry or Retry(attempts=3))
    try:
        who = calls.run("ask the Hub whose token this is", api.whoami)
    except HubError as error:
        cause = error.__cause__
        if isinstance(cause, HfHubHTTPError) and cause.response.status_code == 401:
            raise HubError(f"{where} does not know this token.", LOG_IN) from error
        raise
    user = str(who["name"])
    full = name if "/" in name else f"{user}/{name}" if name else user
    namespace = full.split("/")[0]
    access = who.get("auth", {}).get("accessToken", {})
    if access.get("role") == "read":
        raise HubError(f"The token of {user} can only read.", LOG_IN)
    _check_namespace(who, user, namespace)
    if access.get("role") == "fineGrained" and not _fine_grained_write(access, namespace, full, repo_type):
        raise HubError(
            f"The fine-grained token of {user} has no write permission for {full}.",
            f"Give it write access to the repositories of {namespace}, or use a write token.",
        )
    return full


def _trusted_repository(
    resource: str, repo_id: str | None, repo_type: RepoType, api: HfApi, retry: Retry | None
) -> str:
    full = resource.removeprefix("datasets/")
    if "/" not in full:
        raise HubError(f"The token for HF_OIDC_RESOURCE={resource} can only read.", "Name one repository there.")
    kind = "model" if full == resource else "dataset"
    if kind != repo_type or repo_id not in (None, full, full.split("/")[1]):
        target = f"{repo_type} {repo_id or ''}".strip()
        raise HubError(
            f"The token for HF_OIDC_RESOURCE={resource} cannot write to the {target}.",
            "Set the variable to the repository that is published.",
        )
    calls = Calls(full, api.endpoint, str(api.token), retry or Retry(attempts=3))
    calls.run("find the repository", lambda: api.repo_info(full, repo_type=repo_type))
    return full


def _check_namespace(who: dict[str, Any], user: str, namespace: str) -> None:
    orgs = {org["name"]: org.get("roleInOrg") for org in who.get("orgs", [])}
    if namespace == user or (namespace in orgs and orgs[namespace] not in READ_ONLY):
        return
    if namespace in orgs:
        raise HubError(f"{user} may only read in the organization {namespace}.", "Ask its admins for write access.")
    writable = ", ".join([user, *sorted(org for org, role in orgs.items() if role not in READ_ONLY)])
    raise HubError(f"{user} does not belong to {namespace!r}.", f"You can push to: {writable}.")


def _fine_grained_write(access: dict[str, Any], namespace: str, repo_id: str, repo_type: str) -> bool:
    scopes = access.get("fineGrained", {}).get("scoped")
    if scopes is None:
        return True
    for scope in scopes:
        entity = scope.get("entity", {})
        kind_and_name = (entity.get("type"), entity.get("name"))
        covers = kind_and_name in (("user", namespace), ("org", namespace), (repo_type, repo_id))
        if covers and "repo.write" in scope.get("permissions", []):
            return True
    return False
