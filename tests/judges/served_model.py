"""A model of this machine behind an OpenAI-compatible server on loopback: real HTTP, real images, real answers.

It speaks as vLLM does: every parameter of sampling is taken, a seed names the random stream, and one server has several
models, a base and its adapters. What it is shown is decoded from the requests' data URLs, and kept.
"""

from __future__ import annotations

import base64
import io
import threading
from collections.abc import Callable, Mapping
from typing import Any

from PIL import Image
from starlette.responses import JSONResponse, Response

from mmpref.types import Message
from mmpref.vlm.decoding import Decoding
from mmpref.vlm.generate import PromptBatch, Request
from mmpref.vlm.policy import Policy
from tests.judges.server import Body, ChatServer, fault

KNOWN = {
    "model",
    "messages",
    "max_tokens",
    "temperature",
    "top_p",
    "top_k",
    "repetition_penalty",
    "seed",
}


class ModelServer(ChatServer):
    """Context manager; `url` is the API's root.

    Args:
        policies: by the name that the server calls them by.
        trouble: from a request's body and how often that very body came before, to a fault, or None for an answer.
    """

    def __init__(
        self,
        policies: Mapping[str, Callable[[], Policy]],
        trouble: Callable[[Body, int], Response | None] = lambda _body, _before: None,
    ) -> None:
        super().__init__(self._respond)
        self._policies, self._trouble = policies, trouble
        self._decoding = threading.Lock()
        self.shown: list[Image.Image] = []

    def _respond(self, body: Body, before: int) -> Response:
        if response := self._trouble(body, before):
            return response
        if body["model"] not in self._policies:
            return fault(404, f"The model `{body['model']}` does not exist.")
        if unknown := set(body) - KNOWN:
            return fault(400, f"Unexpected parameters: {', '.join(sorted(unknown))}")
        messages, images = _read(body["messages"])
        self.shown += images
        greedy = body["temperature"] == 0
        decoding = Decoding(
            body["max_tokens"],
            greedy,
            body["temperature"] or 1.0,
            body.get("top_p", 1.0),
            max(0, body.get("top_k", 0)),
            body.get("repetition_penalty", 1.0),
            body.get("seed", len(self.requests)),
        )
        with self._decoding:
            policy = self._policies[body["model"]]()
            [answer] = PromptBatch(policy, [Request(messages, images)]).generate(decoding)
        return completion(answer.text, cut=answer.cut, model=body["model"])


def completion(text: str, *, cut: bool = False, model: str = "m") -> Response:
    """A chat completion as servers send it."""
    choice: dict[str, Any] = {
        "index": 0,
        "finish_reason": "length" if cut else "stop",
        "message": {"role": "assistant", "content": text},
    }
    usage = {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14}
    return JSONResponse(
        {"id": "x", "object": "chat.completion", "created": 0, "model": model, "choices": [choice], "usage": usage}
    )


def _read(turns: list[dict[str, Any]]) -> tuple[tuple[Message, ...], tuple[Image.Image, ...]]:
    """Messages as texts, and the images, of which each must come as a data URL."""
    messages, images = [], []
    for turn in turns:
        content = turn["content"]
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        for part in parts:
            if part["type"] == "image_url":
                head, _, data = part["image_url"]["url"].partition(",")
                assert head.startswith("data:image/"), head
                assert head.endswith(";base64"), head
                images.append(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))
        messages.append(Message(turn["role"], "".join(part["text"] for part in parts if part["type"] == "text")))
    return tuple(messages), tuple(images)
