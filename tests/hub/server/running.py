"""Starting and stopping the server: uvicorn in a thread, on loopback, at a port that was free."""

from __future__ import annotations

import socket
import tempfile
import threading
import time
from pathlib import Path
from types import TracebackType

import uvicorn

from .app import build_app
from .faults import Faults
from .store import Repo, Store, Tree


class HubServer:
    """A Hub on 127.0.0.1, as a context manager.

    `endpoint` goes to HF_ENDPOINT; `store` is its state, `faults` makes it misbehave. LFS files larger than
    `multipart_chunk` bytes are uploaded in parts; listings come in pages of `page_size`.
    """

    def __init__(self, port: int = 0, multipart_chunk: int = 20_000_000, page_size: int = 1000) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="hub-")
        self.store, self.faults = Store(Path(self._folder.name)), Faults()
        # asyncio switches Nagle's algorithm off only where the protocol is named; with it a call takes 40 ms.
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", port))
        self.endpoint = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        app = build_app(self.store, self.faults, multipart_chunk, page_size)
        config = uvicorn.Config(app, log_level="critical", lifespan="off", timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), daemon=True)

    def __enter__(self) -> HubServer:
        self._thread.start()
        while not self._server.started:
            if not self._thread.is_alive():
                raise RuntimeError("the Hub server did not start")
            time.sleep(0.01)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.faults.clear()
        self._server.should_exit = True
        self._thread.join(timeout=10)
        self._folder.cleanup()

    def repo(self, kind: str, repo_id: str) -> Repo:
        return self.store.repos[kind, repo_id]

    def tree(self, kind: str, repo_id: str, revision: str = "main") -> Tree:
        return self.repo(kind, repo_id).commit_at(revision).tree

    def read(self, kind: str, repo_id: str, path: str, revision: str = "main") -> bytes:
        return self.store.file_of(self.tree(kind, repo_id, revision)[path]).read_bytes()

    def titles(self, kind: str, repo_id: str, revision: str = "main") -> list[str]:
        """Commit titles, newest first."""
        return [commit.title for commit in self.repo(kind, repo_id).history(revision)]

    def environment(self, home: Path, token: str | None) -> dict[str, str]:
        """Variables that point a fresh process at this server; huggingface_hub reads them when imported."""
        env = {
            "HF_ENDPOINT": self.endpoint,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_IMPLICIT_TOKEN": "0",
            "HF_HUB_OFFLINE": "0",
        }
        return env | ({"HF_TOKEN": token} if token else {})
