"""What the server remembers: users, repositories with commits and refs, and content by its hash on disk."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from .errors import HubFault, entry_not_found, revision_not_found

GITATTRIBUTES = b"".join(
    f"*.{ext} filter=lfs diff=lfs merge=lfs -text\n".encode()
    for ext in ("arrow", "bin", "gz", "h5", "jpg", "npy", "parquet", "png", "pt", "safetensors", "zip")
)


def git_sha1(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


@dataclass(frozen=True)
class Entry:
    """One file of a tree. For an LFS file `sha256` is set and `oid` is the git hash of its pointer text."""

    size: int
    oid: str
    sha256: str | None = None

    @classmethod
    def lfs(cls, sha256: str, size: int) -> Entry:
        return cls(size, git_sha1(pointer_text(sha256, size)), sha256)


def pointer_text(sha256: str, size: int) -> bytes:
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()


Tree = dict[str, Entry]


@dataclass(frozen=True)
class Commit:
    id: str
    parent: str | None
    title: str
    message: str
    author: str
    date: str
    tree: Tree


@dataclass
class PullRequest:
    num: int
    title: str
    author: str
    base: str
    status: str
    created: str
    merge_commit: str | None = None

    @property
    def ref(self) -> str:
        return f"refs/pr/{self.num}"


@dataclass
class Repo:
    """A repository; `refs` maps a full ref name (refs/heads/main, refs/tags/v1, refs/pr/1) to a commit id.

    `lfs_objects` are the sha256 of what was uploaded to this repository: knowing the hash of another one's
    file does not give access to it.
    """

    kind: str
    id: str
    private: bool
    created: str = field(default_factory=now)
    commits: dict[str, Commit] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    pulls: dict[int, PullRequest] = field(default_factory=dict)
    lfs_objects: set[str] = field(default_factory=set)
    sdk: str | None = None
    gated: str | None = None

    def ref_name(self, revision: str) -> str | None:
        names = [f"refs/heads/{revision}", f"refs/tags/{revision}"]
        if revision.startswith("refs/"):
            names = [revision]
        return next((name for name in names if name in self.refs), None)

    def commit_at(self, revision: str) -> Commit:
        name = self.ref_name(revision)
        if name:
            return self.commits[self.refs[name]]
        found = [c for c in self.commits if len(revision) >= 7 and c.startswith(revision)]
        if len(found) != 1:
            raise revision_not_found(revision)
        return self.commits[found[0]]

    def entry(self, revision: str, path: str) -> tuple[Commit, Entry]:
        commit = self.commit_at(revision)
        if path not in commit.tree:
            raise entry_not_found(path)
        return commit, commit.tree[path]

    def add_commit(self, ref: str, parent: str | None, tree: Tree, title: str, message: str, author: str) -> Commit:
        seed = f"{parent}\0{title}\0{sorted(tree.items())}\0{secrets.token_hex(8)}"
        oid = hashlib.sha1(seed.encode()).hexdigest()
        commit = Commit(oid, parent, title, message, author, now(), dict(tree))
        self.commits[commit.id] = commit
        self.refs[ref] = commit.id
        return commit

    def history(self, revision: str) -> list[Commit]:
        """Commits from `revision` back to the first."""
        commit: Commit | None = self.commit_at(revision)
        out = []
        while commit is not None:
            out.append(commit)
            commit = self.commits[commit.parent] if commit.parent else None
        return out


@dataclass
class Collection:
    """Repositories under one title; `items` are as the Hub shows them."""

    slug: str
    title: str
    description: str | None
    private: bool
    items: list[dict[str, object]] = field(default_factory=list)
    updated: str = field(default_factory=now)


@dataclass(frozen=True)
class Account:
    """A token's owner. `role` is read, write or fineGrained, as the Hub reports it; `scopes` go with the last.

    `only` is the one repository (kind, id) that a trusted publisher's token is for; such a token is no user's.
    """

    name: str
    role: str
    orgs: tuple[str, ...]
    scopes: Sequence[Mapping[str, object]]
    only: tuple[str, str] | None = None

    def may_enter(self, namespace: str) -> bool:
        return namespace == self.name or namespace in self.orgs


class Store:
    """All state of one server; `root` is a folder for file content.

    `benchmarks` are the datasets on the Hub's list of them, `frameworks` what an ``eval.yaml`` may name.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.blobs, self.objects = root / "blobs", root / "lfs"
        for folder in (self.blobs, self.objects):
            folder.mkdir(parents=True, exist_ok=True)
        self.repos: dict[tuple[str, str], Repo] = {}
        self.accounts: dict[str, Account] = {}
        self.publishers: dict[str, str] = {}
        self.benchmarks: set[str] = set()
        self.frameworks = {"inspect-ai", "mteb", "mmpref"}
        self.collections: dict[str, Collection] = {}

    def add_user(
        self,
        name: str,
        role: str = "write",
        orgs: tuple[str, ...] = (),
        scopes: Sequence[Mapping[str, object]] = (),
        only: tuple[str, str] | None = None,
    ) -> str:
        """Make a token for `name` and return it. A user may have several tokens."""
        token = f"hf_{secrets.token_hex(17)}"
        self.accounts[token] = Account(name, role, orgs, scopes, only)
        return token

    def create_repo(self, kind: str, repo_id: str, private: bool, author: str) -> Repo:
        if (kind, repo_id) in self.repos:
            raise HubFault(409, f"You already created this {kind} repo: {repo_id}")
        repo = self.repos[kind, repo_id] = Repo(kind, repo_id, private)
        tree = {".gitattributes": self.put_blob(GITATTRIBUTES)}
        repo.add_commit("refs/heads/main", None, tree, "initial commit", "", author)
        return repo

    def put_blob(self, content: bytes) -> Entry:
        oid = git_sha1(content)
        (self.blobs / oid).write_bytes(content)
        return Entry(len(content), oid)

    def put_object(self, repo: Repo, sha256: str, content: bytes) -> None:
        if hashlib.sha256(content).hexdigest() != sha256:
            raise HubFault(400, "The content does not have the announced sha256")
        part = self.objects / f".{sha256}.{secrets.token_hex(4)}"
        part.write_bytes(content)
        part.replace(self.objects / sha256)
        repo.lfs_objects.add(sha256)

    def file_of(self, entry: Entry) -> Path:
        return self.objects / entry.sha256 if entry.sha256 else self.blobs / entry.oid
