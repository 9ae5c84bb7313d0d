"""What the Hugging Face token of this machine may do. The token itself is never shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from huggingface_hub import HfApi, constants
from huggingface_hub.errors import HfHubHTTPError

from mmpref.errors import HubError
from mmpref.hub._calls import CALL_ERRORS
from mmpref.hub.access import READ_ONLY, usual_token
from mmpref.hub_cache import why_unasked, within

_WAIT = 5.0  # seconds


@dataclass(frozen=True)
class TokenFacts:
    """Of the token in the usual places.

    Args:
        user: whose it is; "" where there is none, or the Hub does not say.
        role: ``write``, ``read``, ``fineGrained``; "" where it is not known.
        may_write: namespaces, or repositories that a fine-grained token names.
        problem: why nothing is known, or what keeps it from writing; "" where it can write.
    """

    user: str = ""
    role: str = ""
    may_write: tuple[str, ...] = ()
    problem: str = ""


def token_facts(endpoint: str | None = None) -> TokenFacts:
    """Ask the Hub, for a few seconds, whose token this is and what it may write."""
    where = endpoint or constants.ENDPOINT
    try:
        token = usual_token()
    except HubError as error:
        return TokenFacts(problem=str(error))
    if constants.is_offline_mode():
        return TokenFacts(problem=f"There is one. {where} is not asked what it may do: {why_unasked()}.")
    answers: list[dict[str, Any] | Exception] = []

    def ask() -> None:
        try:
            answers.append(HfApi(endpoint=where, token=token).whoami())
        except CALL_ERRORS as error:
            answers.append(error)

    if not within(_WAIT, ask):
        return TokenFacts(problem=f"There is one. {where} did not say in {_WAIT:.0f} s what it may do.")
    (answer,) = answers
    if not isinstance(answer, Exception):
        return _facts(answer)
    if isinstance(answer, HfHubHTTPError) and answer.response.status_code == 401:
        return TokenFacts(problem=f"There is one, which {where} does not know. Log in with `hf auth login`.")
    return TokenFacts(problem=f"There is one. {where} cannot be asked what it may do ({type(answer).__name__}).")


def _facts(who: dict[str, Any]) -> TokenFacts:
    user, access = str(who["name"]), who.get("auth", {}).get("accessToken", {})
    role = str(access.get("role") or "")
    if role == "read":
        return TokenFacts(user, role, (), "It can only read. Make one that may write, and log in with `hf auth login`.")
    if role == "fineGrained" and (scopes := access.get("fineGrained", {}).get("scoped")) is not None:
        named = tuple(
            str(scope.get("entity", {}).get("name")) for scope in scopes if "repo.write" in scope.get("permissions", [])
        )
        return TokenFacts(user, role, named, "" if named else "It has no write permission for any repository.")
    orgs = [org["name"] for org in who.get("orgs", []) if org.get("roleInOrg") not in READ_ONLY]
    return TokenFacts(user, role, (user, *orgs))
