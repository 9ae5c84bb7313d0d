"""The files of a folder by which a model is known, as a commit tells one of the Hub from others, and their SHA-256."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from mmpref.registry import resolve_path

SUFFIXES = (".safetensors", ".bin", ".json", ".jinja", ".model", ".txt", ".py")
"""What a folder of one that is only asked, or evaluated, is told by; what else lies in one, such as a card, makes no
answer."""
_READ = (
    *("*config*.json", "*token*.json", "vocab.*", "merges.txt", "*.model", "*.tiktoken"),
    *("chat_template.json", "*.jinja", "additional_chat_templates/*.jinja", "*.py", "*.index.json"),
)
"""What is read of a model's folder beside its weights: architecture, code, how it generates, its processor, tokenizer
and chat template. What reports on the model, as a ``TRAINING.json`` does, may change."""


def folder_files(model: str) -> dict[str, str]:
    """The SHA-256 of each file of a folder that decides what its model reads, computes and writes, but its weights, by
    its path in there; nothing of a model of the Hub or in memory."""
    folder = Path(resolve_path(model))
    files = {file for pattern in _READ for file in folder.glob(pattern) if file.is_file()}
    return {file.relative_to(folder).as_posix(): file_digest(file) for file in sorted(files)}


def digests(files: Iterable[Path]) -> dict[str, str]:
    """The SHA-256 of each file's content, by its name."""
    return {file.name: file_digest(file) for file in files}


def joint_digest(digests: Mapping[str, str]) -> str:
    """``sha256:...`` over names and contents of files, in their order."""
    lines = "".join(f"{name}\0{digest}\n" for name, digest in digests.items())
    return f"sha256:{hashlib.sha256(lines.encode()).hexdigest()}"


def file_digest(file: Path) -> str:
    """The SHA-256 (hex) of a file; read once in a process, as long as it does not change."""
    found = file.stat()
    return _digest(file, found.st_size, found.st_mtime_ns)


@functools.lru_cache(maxsize=256)
def _digest(file: Path, _size: int, _changed: int) -> str:
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
