"""Who is asked, by a word on the command line: an endpoint, a plugin, a function, the policy, a local model, a file."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmpref.errors import InputError, ModelError, UsageError
from mmpref.hub_ids import refuse_page
from mmpref.judges.annotator import Annotator, ChatAnnotator, FunctionAnnotator, refuse_instruction
from mmpref.judges.chat import Chat, ChatSettings
from mmpref.judges.endpoint import Endpoint
from mmpref.judges.final_replies import FinalReplies
from mmpref.judges.local import LocalChat
from mmpref.judges.plugins import JUDGES, annotator_plugin
from mmpref.judges.replay import ReplayChat
from mmpref.judges.reply_cache import CachedChat
from mmpref.local_paths import check_hint
from mmpref.reasoning import markers
from mmpref.registry import suggest
from mmpref.types import ModelRef

if TYPE_CHECKING:
    from mmpref.vlm.policy import Policy

POLICY = "policy"
"""The run's own model."""

FORMS = (
    "Give URL#MODEL, a model's id or folder, policy, MODULE:FUNCTION, a file of judgements (.jsonl), or a name of "
    "`mmpref list annotators`."
)
_ENDPOINT = re.compile(r"(https?://[^#]+)#(.+)")
_FUNCTION = re.compile(r"([A-Za-z_]\w*(?:\.\w+)*):([A-Za-z_]\w*)")


def open_chat(
    spec: str, settings: ChatSettings, policy: Callable[[], Policy] | None = None, commit: str | None = None
) -> FinalReplies:
    """A model that is asked in words; its replies are what counts of them (`mmpref.judges.final_replies`).

    Args:
        policy: loads the run's own model, where there is one.
        commit: at which a model of the Hub is asked, whatever its name means now.

    Raises:
        UsageError: the word names no such model.
        InputError: a file of judgements that cannot be read.
    """
    return FinalReplies(_open_chat(spec, settings, policy, commit), markers(settings.thinking))


def _open_chat(spec: str, settings: ChatSettings, policy: Callable[[], Policy] | None, commit: str | None) -> Chat:
    if spec == POLICY:
        if policy is None:
            raise UsageError("There is no policy here that could be asked.", FORMS)
        return LocalChat(policy, POLICY, settings)
    if endpoint := endpoint_of(spec):
        return CachedChat(Endpoint(*endpoint, settings))
    if spec.endswith(".jsonl"):
        return ReplayChat(Path(spec))
    if spec.partition(":")[0] in JUDGES.names() or _FUNCTION.fullmatch(spec):
        raise UsageError(f"{spec!r} cannot be asked in words.", "This needs a model: URL#MODEL, or an id or folder.")
    # Not cached: the files of a local folder may change under its name, and asking again gives the same.
    return LocalChat(_loader(spec, commit), spec, settings, partial(_identify, spec, commit))


def endpoint_of(spec: str) -> tuple[str, str] | None:
    """URL and model of ``URL#MODEL``; None for another form.

    Raises:
        UsageError: a URL without a model, or with a password or a query, or the address of a Hub page.
    """
    if not spec.startswith(("http://", "https://")):
        return None
    refuse_page(spec)
    parts = _ENDPOINT.fullmatch(spec)
    if not parts:
        raise UsageError(f"{spec!r} names an endpoint, but no model.", "Give URL#MODEL.")
    if "@" in parts[1].split("/")[2]:
        raise UsageError(
            "The URL has a user or password in it, which would be written into run files.",
            "Set MMPREF_API_KEY instead.",
        )
    if "?" in parts[1]:
        raise UsageError(
            "The URL has a query, in which keys may stand, and which would be written into run files.",
            "Leave it out, and set MMPREF_API_KEY.",
        )
    return parts[1], parts[2]


def refuse_nobody(spec: str) -> str | None:
    """See that a word names somebody, without loading a model.

    Returns:
        The model that it names, with its revision as ``ID@REVISION``; None for anybody else.

    Raises:
        UsageError: an endpoint without a model, or a function that there is not.
        InputError: a file of judgements that is not there.
    """
    if spec == POLICY or endpoint_of(spec) or spec.partition(":")[0] in JUDGES.names() or function_of(spec):
        return None
    if spec.endswith(".jsonl"):
        if not Path(spec).is_file():
            raise InputError(f"There is no file {spec} of judgements.", check_hint(spec))
        return None
    return spec


def open_annotator(
    spec: str,
    settings: ChatSettings | None = None,
    *,
    instruction: str | None = None,
    policy: Callable[[], Policy] | None = None,
) -> Annotator:
    """Somebody who compares answers.

    Args:
        instruction: another template for `ChatAnnotator`.

    Raises:
        UsageError: the word names nobody, or an instruction is given to somebody who takes none.
    """
    annotator: Annotator | None = annotator_plugin(spec, "compare")
    if annotator is None and (function := function_of(spec)):
        annotator = FunctionAnnotator(function, spec)
    if annotator is None:
        # A verdict is short; the reasons before it are wanted, but not at any length.
        settings = settings or ChatSettings(max_tokens=512)
        return ChatAnnotator(open_chat(spec, settings, policy), instruction)
    refuse_instruction(spec, instruction)
    return annotator


def function_of(spec: str) -> Callable[..., Any] | None:
    """The function that ``MODULE:FUNCTION`` names; None for another form.

    Raises:
        UsageError: there is no such function.
    """
    parts = _FUNCTION.fullmatch(spec)
    if not parts:
        return None
    try:
        function: Callable[..., Any] = getattr(importlib.import_module(parts[1]), parts[2])
    except (ImportError, AttributeError) as error:
        raise UsageError(
            f"There is no function {spec} ({error}).", "The module must be importable: install it, or set PYTHONPATH."
        ) from error
    if not callable(function):
        raise UsageError(f"{spec} is no function.")
    return function


def _ref(spec: str, commit: str | None) -> ModelRef:
    from mmpref.origins.revisions import ref_of

    ref = ref_of(spec)
    return ModelRef(ref.model, commit or ref.revision)


def _identify(spec: str, commit: str | None) -> None:
    from mmpref.vlm.load import identify

    try:
        identify(_ref(spec, commit))
    except ModelError as error:
        raise ModelError(
            f"{spec!r} is no judge or annotator of mmpref, and no model that can be loaded: {error}",
            suggest(spec, JUDGES.names()),
        ) from error


def _loader(spec: str, commit: str | None) -> Callable[[], Policy]:
    """Loads a model once."""
    ref = _ref(spec, commit)

    @cache
    def load() -> Policy:
        from mmpref.vlm.load import load_policy

        return load_policy(ref)

    return load
