"""A scripted OpenAI-compatible server on loopback: real HTTP, with answers, faults and waits as a test decides."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

Body = dict[str, Any]
Answer = Callable[[Body, int], "str | Response"]


def text_of(body: Body) -> str:
    """All text of a request."""
    contents = [message["content"] for message in body["messages"]]
    parts = [
        part
        for content in contents
        for part in ([{"type": "text", "text": content}] if isinstance(content, str) else content)
    ]
    return "\n".join(part["text"] for part in parts if part["type"] == "text")


def fault(status: int, message: str = "no", **headers: str) -> Response:
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    return JSONResponse({"error": {"message": message}}, status, named)


def raw(content: str, status: int = 200) -> Response:
    return Response(content, status, media_type="application/json")


def finished(text: str | None, reason: str, **more: Any) -> Response:
    """A reply with a finish reason.

    Args:
        more: further fields of the message.
    """
    message = {"role": "assistant", "content": text, **more}
    return JSONResponse(
        {
            "id": "x",
            "object": "chat.completion",
            "created": 0,
            "model": "m",
            "choices": [{"index": 0, "finish_reason": reason, "message": message}],
            "usage": {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12},
        }
    )


class ChatServer:
    """Context manager; `url` is the API's root.

    Args:
        answer: from a request's body and how often that very body came before, to a text or a whole response.
        wait: seconds before each answer.
    """

    def __init__(self, answer: Answer, wait: float = 0.0) -> None:
        self._answer, self._wait = answer, wait
        self._lock = threading.Lock()
        self.requests: list[Body] = []
        self.keys: list[str] = []
        self.at_once = self.most_at_once = 0
        self._seen: dict[str, int] = {}
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._socket.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/v1"
        app = Starlette(routes=[Route("/v1/chat/completions", self._complete, methods=["POST"]), *self.routes()])
        self._server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off"))
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), daemon=True)

    def routes(self) -> list[Route]:
        """What else there is."""
        return []

    async def _complete(self, request: Request) -> Response:
        import asyncio

        body = await request.json()
        with self._lock:
            name = json.dumps(body, sort_keys=True)
            before = self._seen.get(name, 0)
            self._seen[name] = before + 1
            self.requests.append(body)
            self.keys.append(request.headers.get("authorization", ""))
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(self._wait)
        with self._lock:
            self.at_once -= 1
        answer = self._answer(body, before)
        if isinstance(answer, Response):
            return answer
        return JSONResponse(
            {
                "id": "x",
                "object": "chat.completion",
                "created": 0,
                "model": body["model"],
                "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": answer}}],
                "usage": {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14},
            }
        )

    def __enter__(self) -> ChatServer:
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.should_exit = self._server.force_exit = True
        self._thread.join(timeout=10)
        self._socket.close()
