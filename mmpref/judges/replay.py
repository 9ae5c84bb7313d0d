"""Replies out of a file: what a judge or annotator said once, for whoever asks exactly the same again.

One JSON object a line, as evaluations with a judge leave them in ``judgements.jsonl``::

    {"judge": {"model": "gpt-4o", "temperature": 0.0}, "messages": [{"role": "user", "content": "..."}],
     "images": ["<sha256 of the image>"], "repeat": 0, "reply": "Rating: 4"}
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmpref.errors import InputError
from mmpref.judges.chat import OnReply, Query, Reply
from mmpref.judges.reply_cache import query_content
from mmpref.text_files import NOT_JSON, lines_of, read_text

RECORDED = "recorded"
"""In the identity of a file of replies: its hash."""


def judgement_row(judge: Mapping[str, Any], query: Query, reply: str) -> dict[str, Any]:
    """A judgement as a row of such a file.

    Args:
        judge: the identity of who replied.
    """
    identity = {name: value for name, value in judge.items() if name != RECORDED}
    return {"judge": identity, **query_content(query), "reply": reply}


class ReplayChat:
    """A file of replies as a chat model. What is not in it has no reply.

    Raises:
        InputError: the file cannot be read, or mixes the replies of several judges.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._replies: dict[str, str] = {}
        judges = []
        try:
            content = read_text(file)
        except InputError as error:
            raise InputError(f"Cannot read the judgements: {error.message}", error.hint) from error
        for number, line in enumerate(lines_of(content), 1):
            try:
                judgement = json.loads(line)
                judge, query = (
                    judgement["judge"],
                    {name: judgement[name] for name in ("messages", "images", "repeat")},
                )
                self._replies[_query_key(query)] = str(judgement["reply"])
                judges.append({**judge, "model": str(judge["model"])})
            except (*NOT_JSON, KeyError, TypeError) as error:
                raise InputError(
                    f"{file}, line {number}, is no judgement.", "Lines have judge, messages, images, repeat and reply."
                ) from error
            if judges[-1] != judges[0]:
                raise InputError(f"{file}, line {number}, is of another judge than line 1.", "Split it by judge.")
        if not judges:
            raise InputError(f"{file} holds no judgements.")
        digest = hashlib.sha256(content.encode()).hexdigest()
        self.identity: Mapping[str, Any] = {**judges[0], RECORDED: f"sha256:{digest}"}

    def ask(self, queries: Sequence[Query], on_reply: OnReply | None = None) -> list[Reply]:
        replies = []
        for number, query in enumerate(queries):
            text = self._replies.get(_query_key(query_content(query)))
            replies.append(Reply(text, "" if text is not None else f"{self._file} has no judgement of it", cached=True))
            if on_reply:
                on_reply(number, replies[-1])
        return replies


def _query_key(content: Mapping[str, Any]) -> str:
    return json.dumps(content, sort_keys=True, ensure_ascii=False)
