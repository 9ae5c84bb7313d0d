"""How an endpoint wants its parameters: servers of one protocol differ in what they refuse.

Newer models of OpenAI's take ``max_completion_tokens`` and no temperature but their own; ``top_k`` and
``repetition_penalty`` are vLLM's additions to the protocol. What a server refused by name is put the other way, or left
out; what it then takes is remembered, also for the next session.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmpref.errors import RunError
from mmpref.judges.chat import ChatSettings
from mmpref.local_paths import cache_folder
from mmpref.run.files import write_atomic
from mmpref.vlm.decoding import OFF

_OTHER_BOUND = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
_ALL_TOKENS = -1
"""``top_k`` where it is off, as every vLLM reads it."""


@dataclass(frozen=True)
class Dialect:
    """The parameters that an endpoint takes.

    Args:
        bound: what the limit of a reply's length is called.
        temperature: whether one is sent; if not, the server's own counts.
        left_out: of ``top_p``, ``top_k``, ``repetition_penalty`` and ``seed``, which are not sent.
    """

    bound: str = "max_tokens"
    temperature: bool = True
    left_out: tuple[str, ...] = ()

    def parameters(self, settings: ChatSettings, seed: int | None = None) -> dict[str, Any]:
        """As they are sent."""
        sampled = {"temperature": settings.temperature} if self.temperature else {}
        more = {name: value for name, value in _more(settings, seed).items() if name not in self.left_out}
        return {self.bound: settings.max_tokens, **sampled, **more}

    def is_refused_by(self, message: str, sent: Collection[str]) -> bool:
        """Whether a server's refusal is about what this dialect sends.

        Args:
            sent: names of the parameters.
        """
        return any(_names(message, name) for name in sent)

    def alternative(self, message: str, sent: Collection[str]) -> Dialect:
        """What to try where a server refuses with this message; the same where it names none of it."""
        bound = _OTHER_BOUND[self.bound] if _names(message, self.bound) else self.bound
        more = {name for name in sent if name not in (self.bound, "temperature") and _names(message, name)}
        return Dialect(
            bound,
            self.temperature and not _names(message, "temperature"),
            tuple(sorted({*self.left_out, *more})),
        )

    def not_sent(self, settings: ChatSettings, seed: int | None = None) -> dict[str, float]:
        """What was to be sent and is not, by name."""
        wanted = {"temperature": settings.temperature, **_more(settings, seed)}
        return {name: value for name, value in wanted.items() if name not in self.parameters(settings, seed)}


def _more(settings: ChatSettings, seed: int | None) -> dict[str, float]:
    """What is sent only where it is asked for."""
    top_k = _ALL_TOKENS if settings.top_k == OFF["top_k"] else settings.top_k
    values = {
        "top_p": settings.top_p,
        "top_k": top_k,
        "repetition_penalty": settings.repetition_penalty,
        "seed": seed,
    }
    return {name: value for name, value in values.items() if value is not None}


def changes_something(name: str, value: float) -> bool:
    """Whether a parameter says more than that nothing is to be changed; a seed never changes what is likely."""
    return name != "seed" and value != (_ALL_TOKENS if name == "top_k" else OFF[name])


def _names(message: str, parameter: str) -> bool:
    return bool(re.search(rf"(?<![A-Za-z_]){parameter}(?![A-Za-z_])", message))


def load_dialect(url: str, model: str) -> Dialect:
    """What a model behind an endpoint took before."""
    try:
        content = json.loads(_file(url, model).read_text(encoding="utf-8"))
        return Dialect(**{**content, "left_out": tuple(content.get("left_out", ()))})
    except (OSError, ValueError, TypeError, AttributeError):
        return Dialect()


def save_dialect(url: str, model: str, dialect: Dialect) -> None:
    """For later sessions; one that cannot write finds it out again."""
    file = _file(url, model)
    with contextlib.suppress(OSError, RunError):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(file, json.dumps(dataclasses.asdict(dialect)) + "\n")


def _file(url: str, model: str) -> Path:
    name = hashlib.sha256(f"{url}#{model}".encode()).hexdigest()
    return cache_folder() / "dialects" / f"{name[:16]}.json"
