"""Replies kept on disk by a hash of all that was asked: nothing is paid for twice, and a restart goes on."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmpref.errors import RunError
from mmpref.judges.chat import Chat, OnReply, Query, Reply
from mmpref.run import write_atomic
from mmpref.types import as_dicts


def default_folder() -> Path:
    """``$MMPREF_CACHE``, else ``mmpref`` in the user's cache folder."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("MMPREF_CACHE") or cache / "mmpref") / "replies"


class Kept:
    """A chat model whose replies are kept. Failed ones are not: they are asked again.

    Args:
        folder: one small JSON file a reply; the key of an endpoint is not in it.
    """

    def __init__(self, chat: Chat, folder: Path | None = None) -> None:
        self._chat, self._folder = chat, folder or default_folder()

    @property
    def identity(self) -> Mapping[str, Any]:
        return self._chat.identity

    def ready(self) -> None:
        """As the chat model's own."""
        if ready := getattr(self._chat, "ready", None):
            ready()

    def ask(self, queries: Sequence[Query], on_reply: OnReply | None = None) -> list[Reply]:
        files = [self._file(query) for query in queries]
        replies = {number: reply for number, file in enumerate(files) if (reply := _read(file))}
        for number, reply in replies.items():
            if on_reply:
                on_reply(number, reply)
        left = [number for number in range(len(queries)) if number not in replies]

        def keep(number: int, reply: Reply) -> None:
            if reply.text is not None:
                _write(files[left[number]], reply)
            if on_reply:
                on_reply(left[number], reply)

        asked = self._chat.ask([queries[number] for number in left], keep) if left else []
        replies.update(zip(left, asked, strict=True))
        return [replies[number] for number in range(len(queries))]

    def _file(self, query: Query) -> Path:
        asked = {
            **self.identity,
            "messages": as_dicts(query.messages),
            "images": [hashlib.sha256(image.content).hexdigest() for image in query.images],
            "repeat": query.repeat,
        }
        name = hashlib.sha256(json.dumps(asked, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
        return self._folder / name[:2] / f"{name}.json"


def _read(file: Path) -> Reply | None:
    """A kept reply; None where there is none, or a file that is broken (it is then asked and written anew)."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return Reply(str(content["text"]), "", content["prompt_tokens"], content["completion_tokens"], kept=True)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(file: Path, reply: Reply) -> None:
    content = {"text": reply.text, "prompt_tokens": reply.prompt_tokens, "completion_tokens": reply.completion_tokens}
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"Cannot keep replies in {file.parent} ({error.strerror or error}).",
                       "Set MMPREF_CACHE to a folder that can be written.") from error  # fmt: skip
    write_atomic(file, json.dumps(content, ensure_ascii=False) + "\n")
