"""The server as a command: what `python -m tests.hub.server` prints is enough to talk to it."""

from __future__ import annotations

import os
import subprocess
import sys

import httpx


def test_it_prints_an_endpoint_and_a_token_and_stops_cleanly() -> None:
    command = [sys.executable, "-m", "tests.hub.server", "--port", "0", "--user", "ada"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(os.environ)) as server:
        try:
            assert server.stdout is not None
            words = server.stdout.readline().removeprefix("export ").split()
            shown = dict(word.split("=", 1) for word in words)
            headers = {"authorization": f"Bearer {shown['HF_TOKEN']}"}
            who = httpx.get(f"{shown['HF_ENDPOINT']}/api/whoami-v2", headers=headers)
            assert who.json()["name"] == "ada"
        finally:
            server.terminate()
        assert server.wait(60) == 0
