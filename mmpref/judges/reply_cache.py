"""Replies cached on disk by a hash of all that was asked: nothing is paid for twice, and a restart goes on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmpref.judges.chat import Chat, ChatWrapper, OnReply, Query, Reply
from mmpref.judges.request_images import image_digest
from mmpref.local_paths import cache_folder
from mmpref.run.files import write_atomic
from mmpref.types import as_dicts


class CachedChat(ChatWrapper):
    """A chat model whose replies are cached. Failed ones are not: they are asked again.

    Args:
        folder: one small JSON file a reply; the key of an endpoint is not in it.
    """

    def __init__(self, chat: Chat, folder: Path | None = None) -> None:
        super().__init__(chat)
        self._folder = folder

    def ask(self, queries: Sequence[Query], on_reply: OnReply | None = None) -> list[Reply]:
        bound = self.identity.get("max_tokens")
        cached = (read_reply(self._file(query), bound) for query in queries)
        replies = {number: reply for number, reply in enumerate(cached) if reply}
        for number, reply in replies.items():
            if on_reply:
                on_reply(number, reply)
        missing = [number for number in range(len(queries)) if number not in replies]

        def cache(number: int, reply: Reply) -> None:
            if reply.text is not None:  # under what was asked in the end: a server may take no temperature
                write_reply(self._file(queries[missing[number]]), reply)
            if on_reply:
                on_reply(missing[number], reply)

        new = self.chat.ask([queries[number] for number in missing], cache) if missing else []
        replies.update(zip(missing, new, strict=True))
        return [replies[number] for number in range(len(queries))]

    def _file(self, query: Query) -> Path:
        return reply_file({**self.identity, **query_content(query)}, self._folder)


def reply_file(content: Mapping[str, Any], folder: Path | None = None) -> Path:
    """Where the reply to a request is cached.

    Args:
        content: all that decides it, as JSON.
        folder: of all replies; by default of the cache.
    """
    name = hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
    return (folder or cache_folder() / "replies") / name[:2] / f"{name}.json"


def query_content(query: Query) -> dict[str, Any]:
    """A query as JSON, each image as the hash of what is shown."""
    images = [image_digest(image) for image in query.images]
    seed = {} if query.seed is None else {"seed": query.seed}
    return {"messages": as_dicts(query.messages), "images": images, "repeat": query.repeat, **seed}


def read_reply(file: Path, bound: int | None) -> Reply | None:
    """A cached reply; None where there is none, or a file that is broken (it is then asked and written anew).

    Args:
        bound: on its length: files of before say of no reply that it was cut.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        spent = content["prompt_tokens"], content["completion_tokens"]
        cut = bool(content["cut"]) if "cut" in content else bound is not None and spent[1] >= bound
        return Reply(str(content["text"]), "", *spent, cached=True, cut=cut)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_reply(file: Path, reply: Reply) -> None:
    """Cache a reply.

    Raises:
        RunError: the cache cannot be written.
    """
    content = {
        "text": reply.text,
        "prompt_tokens": reply.prompt_tokens,
        "completion_tokens": reply.completion_tokens,
        "cut": reply.cut,
    }
    hint = "Set MMPREF_CACHE to a folder that can be written: replies are kept there."
    write_atomic(file, json.dumps(content, ensure_ascii=False) + "\n", hint)
