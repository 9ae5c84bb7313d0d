"""A command that works for long says something before it imports what takes seconds to import."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hub.runs import dataset_run

SCRIPT = """
import io, json, os, sys

commands, folder = json.loads(sys.argv[1]), sys.argv[2]
os.chdir(folder)
from mmpref.cli.main import main

SLOW = {"torch", "transformers", "datasets", "trl", "peft", "pandas", "pyarrow", "scipy", "matplotlib"}


def end(what):
    os.write(1, (json.dumps(what) + "\\n").encode())
    os._exit(0)


class Raw(io.RawIOBase):
    def writable(self):
        return True

    def write(self, content):
        if text := bytes(content).decode().strip():
            end(text)
        return len(content)


class Imports:
    def find_spec(self, name, *_):
        if name in SLOW:
            end("imports " + name)


for words in commands:
    if (child := os.fork()) == 0:
        sys.stdout = sys.stderr = io.TextIOWrapper(io.BufferedWriter(Raw()), "utf-8", line_buffering=True)
        sys.meta_path.insert(0, Imports())
        try:
            main(words)
        finally:
            end("nothing")
    os.waitpid(child, 0)
"""
"""Each command in a process of its own, which ends with its first word or its first slow import."""

COMMANDS = {
    "build-dataset": ["--output", "new"],
    "train": ["--output", "new"],
    "evaluate": ["--output", "new"],
    "publish": ["data", "--hub-dataset-id", "me/data"],
    "reproduce": ["testbed", "--output", "new"],
    "compare": ["first", "second"],
    "iterate": ["testbed", "--metric", "chair/chair_i", "--output", "new"],
    "inspect": ["data"],
    "doctor": [],
}


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("words")
    dataset_run(folder / "data")
    commands = json.dumps([[name, *words] for name, words in COMMANDS.items()])
    script = [sys.executable, "-c", SCRIPT, commands, str(folder)]
    done = subprocess.run(script, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
    return dict(zip(COMMANDS, map(json.loads, done.stdout.splitlines()), strict=True))


@pytest.mark.parametrize("command", COMMANDS)
def test_the_first_words_come_before_what_is_slow_to_import(command: str, first: dict[str, str]) -> None:
    assert not first[command].startswith(("imports", "nothing", "Error"))
