"""What is in a local folder, by the two hashes that the Hub uses, and how it compares with a remote tree."""

from __future__ import annotations

import fnmatch
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import CommitOperationAdd
from huggingface_hub.hf_api import RepoFile

from mmpref.errors import InputError
from mmpref.text_files import read_text, text_of_bytes

CARD = "README.md"
# A run's resume state, locks, files being written, and what the Hub refuses. Not every hidden folder:
# .eval_results belongs there.
IGNORE = (
    *(f"{prefix}{name}/*" for name in (".mmpref", ".git", ".cache", "__pycache__") for prefix in ("", "*/")),
    "trackers/*",
    *("lock", "*.lock", "*.tmp", ".DS_Store", "*/.DS_Store"),
)


@dataclass(frozen=True)
class LocalFile:
    """One file to publish. `sha256` names it in LFS, `git_sha1` as an ordinary git blob; `size` in bytes."""

    path: str
    source: Path | bytes
    size: int
    sha256: str
    git_sha1: str

    def is_same_as(self, remote: RepoFile | None) -> bool:
        if remote is None:
            return False
        if remote.lfs is not None:
            return remote.lfs.sha256 == self.sha256
        return remote.blob_id == self.git_sha1

    def text(self) -> str:
        """What it says; raises InputError where it is no text."""
        return text_of_bytes(self.source, self.path) if isinstance(self.source, bytes) else read_text(self.source)

    def operation(self) -> CommitOperationAdd:
        """A fresh operation (one that was committed or preuploaded elsewhere cannot be reused)."""
        operation = CommitOperationAdd(self.path, self.source)
        operation.upload_info.sha256 = bytes.fromhex(self.sha256)
        return operation


def local_bytes(path: str, content: bytes) -> LocalFile:
    """A file that exists only in memory: the merged card."""
    git = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    return LocalFile(path, content, len(content), hashlib.sha256(content).hexdigest(), git)


def local_file(path: str, source: Path) -> LocalFile:
    size = source.stat().st_size
    sha256, git = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % size)
    with source.open("rb") as stream:
        while block := stream.read(1 << 20):
            sha256.update(block)
            git.update(block)
    return LocalFile(path, source, size, sha256.hexdigest(), git.hexdigest())


def local_files(folder: Path) -> dict[str, LocalFile]:
    """All files below `folder` by their path with forward slashes, without those that match `IGNORE`.

    Raises:
        InputError: the folder is missing.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder.", "Name a run directory that exists.")
    sources = ((p.relative_to(folder).as_posix(), p) for p in sorted(folder.rglob("*")) if p.is_file())
    return {
        name: local_file(name, source)
        for name, source in sources
        if not any(fnmatch.fnmatchcase(name, pattern) for pattern in IGNORE)
    }


def digest(files: Sequence[LocalFile]) -> str:
    """A hash of the whole content, whatever the order."""
    lines = sorted(f"{file.sha256}  {file.path}\n" for file in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()
