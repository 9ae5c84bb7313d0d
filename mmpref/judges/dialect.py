"""How an endpoint wants the bound on a reply and the temperature: servers of one protocol differ in what they refuse.

Newer models of OpenAI's take ``max_completion_tokens`` and no temperature but their own. What a server refused by name
is put the other way once; what it then takes is remembered, also for the next session.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmpref.errors import RunError
from mmpref.judges.chat import ChatSettings
from mmpref.judges.reply_cache import cache_folder
from mmpref.run.files import write_atomic

_OTHER_BOUND = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}


@dataclass(frozen=True)
class Dialect:
    """The parameters that an endpoint takes.

    Args:
        bound: what the limit of a reply's length is called.
        temperature: whether one is sent; if not, the server's own counts.
    """

    bound: str = "max_tokens"
    temperature: bool = True

    def parameters(self, settings: ChatSettings) -> dict[str, Any]:
        sampled = {"temperature": settings.temperature} if self.temperature else {}
        return {self.bound: settings.max_tokens, **sampled}

    def is_refused_by(self, message: str) -> bool:
        """Whether a server's refusal is about what this dialect sends."""
        return self.bound in message or (self.temperature and "temperature" in message)

    def alternative(self, message: str) -> Dialect:
        """What to try where a server refuses with this message; the same where it names none of it."""
        bound = _OTHER_BOUND[self.bound] if self.bound in message else self.bound
        return Dialect(bound, self.temperature and "temperature" not in message)


def load_dialect(url: str, model: str) -> Dialect:
    """What a model behind an endpoint took before."""
    try:
        return Dialect(**json.loads(_file(url, model).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
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
