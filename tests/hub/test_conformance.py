"""The server against HUB.md's table of endpoints, row by row: status, headers and JSON as raw HTTP sees them."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.hub.server.store import git_sha1, pointer_text
from tests.hub_fixtures import HubAccount

CARD = b"---\nlicense: mit\ntags: [dpo]\n---\n# Card\n"
BLOB = b"\0" * 300


class Raw:
    """A repository and plain HTTP to it. `api` is its address below /api, `web` its address for files."""

    def __init__(self, hub: HubAccount, kind: str) -> None:
        self.hub, self.kind, self.id = hub, kind, f"{hub.name}/r"
        self.api = f"/api/{kind}/{self.id}"
        self.web = f"/{self.id}" if kind == "models" else f"/{kind}/{self.id}"
        plain: Any = {"base_url": hub.endpoint, "verify": False}  # without TLS there are no certificates to read
        self.http = httpx.Client(**plain, headers={"authorization": f"Bearer {hub.token}"})
        self.anonymous = httpx.Client(**plain)

    def create(self, **more: Any) -> httpx.Response:
        body = {"name": "r", "organization": self.hub.name, "type": self.kind.rstrip("s"), **more}
        return self.http.post("/api/repos/create", json=body)

    def head(self, revision: str = "main") -> str:
        return str(self.http.get(f"{self.api}/revision/{revision.replace('/', '%2F')}").json()["sha"])

    def commit(self, *lines: tuple[str, Any], rev: str = "main", query: str = "", **header: str) -> httpx.Response:
        rows = [("header", {"summary": "change", "description": "", **header}), *lines]
        body = "".join(json.dumps({"key": key, "value": value}) + "\n" for key, value in rows)
        return self.http.post(f"{self.api}/commit/{rev}{query}", content=body)

    def upload(self, content: bytes) -> str:
        """Bring content into LFS by the batch protocol; returns its sha256."""
        oid = hashlib.sha256(content).hexdigest()
        row = self.batch(oid, len(content)).json()["objects"][0]
        if "actions" in row:
            assert httpx.put(row["actions"]["upload"]["href"], content=content).status_code == 200
        return oid

    def batch(self, oid: str, size: int, transfers: tuple[str, ...] = ("basic", "multipart")) -> httpx.Response:
        body = {"operation": "upload", "transfers": transfers, "objects": [{"oid": oid, "size": size}]}
        return self.http.post(f"{self.web}.git/info/lfs/objects/batch", json=body)


def file_line(path: str, content: bytes) -> tuple[str, dict[str, str]]:
    return "file", {"path": path, "content": base64.b64encode(content).decode(), "encoding": "base64"}


@pytest.fixture(params=["models", "datasets"])
def raw(hub: HubAccount, request: pytest.FixtureRequest) -> Iterator[Raw]:
    """A repository with a card, a text file in a folder and an LFS file."""
    raw = Raw(hub, request.param)
    assert raw.create().status_code == 200
    oid = raw.upload(BLOB)
    lfs = ("lfsFile", {"path": "data/a.bin", "algo": "sha256", "oid": oid, "size": len(BLOB)})
    done = raw.commit(file_line("README.md", CARD), file_line("data/b.txt", b"b\n"), lfs)
    assert done.status_code == 200
    yield raw
    raw.http.close()
    raw.anonymous.close()


def code(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.headers.get("x-error-code", "")


def test_agent_harnesses(hub: HubAccount) -> None:
    answer = httpx.get(f"{hub.endpoint}/api/agent-harnesses")
    assert answer.status_code == 404 or isinstance(answer.json(), dict)


def test_whoami(hub: HubAccount) -> None:
    address = f"{hub.endpoint}/api/whoami-v2"
    answer = httpx.get(address, headers={"authorization": f"Bearer {hub.token}"}).json()
    assert (answer["type"], answer["name"], answer["orgs"]) == ("user", hub.name, [])
    assert answer["auth"]["accessToken"]["role"] == "write"
    assert httpx.get(address).status_code == 401
    wrong = httpx.get(address, headers={"authorization": "Bearer hf_wrong"})
    assert (wrong.status_code, wrong.headers["x-error-message"]) == (
        401,
        "Invalid credentials in Authorization header",
    )


def test_create(raw: Raw) -> None:
    url = f"{raw.hub.endpoint}{raw.web}"
    again = raw.create()
    assert (again.status_code, again.json()["url"]) == (409, url)
    other = raw.create(name="s", visibility="private")
    assert (other.status_code, other.json()["url"]) == (200, f"{url[:-1]}s")
    assert raw.http.get(f"{raw.api[:-1]}s").json()["private"] is True
    assert code(raw.anonymous.get(f"{raw.api[:-1]}s")) == (401, "RepoNotFound")
    assert raw.create(organization="somebody").status_code == 403
    assert raw.anonymous.post("/api/repos/create", json={"name": "t"}).status_code == 401
    reader = raw.hub.hub.store.add_user(raw.hub.name, role="read")
    refused = httpx.post(
        f"{raw.hub.endpoint}/api/repos/create", json={"name": "t"}, headers={"authorization": f"Bearer {reader}"}
    )
    assert refused.status_code == 403


def test_info(raw: Raw) -> None:
    info = raw.anonymous.get(raw.api).json()
    assert (info["id"], info["private"], info["gated"]) == (raw.id, False, False)
    assert (info["tags"], info["cardData"]) == (["dpo"], {"license": "mit", "tags": ["dpo"]})
    assert {"rfilename": "data/a.bin"} in info["siblings"]
    at = raw.http.get(f"{raw.api}/revision/{info['sha']}", params={"blobs": "true"}).json()
    assert at["sha"] == info["sha"]
    row = next(s for s in at["siblings"] if s["rfilename"] == "data/a.bin")
    assert row["lfs"]["sha256"] == hashlib.sha256(BLOB).hexdigest()
    assert set(raw.http.get(raw.api, params={"expand": "sha"}).json()) == {"_id", "id", "sha"}
    assert code(raw.http.get(f"{raw.api}/revision/nothing")) == (404, "RevisionNotFound")
    assert code(raw.http.get(f"{raw.api}x")) == (404, "RepoNotFound")
    assert code(raw.anonymous.get(f"{raw.api}x")) == (401, "RepoNotFound")


def lfs_entry(path: str) -> dict[str, Any]:
    oid = hashlib.sha256(BLOB).hexdigest()
    pointer = pointer_text(oid, len(BLOB))
    lfs = {"oid": oid, "size": len(BLOB), "pointerSize": len(pointer)}
    return {"type": "file", "oid": git_sha1(pointer), "size": len(BLOB), "path": path, "lfs": lfs}


def test_tree(raw: Raw) -> None:
    top = raw.http.get(f"{raw.api}/tree/main").json()
    assert [(row["type"], row["path"]) for row in top] == [
        ("file", ".gitattributes"),
        ("file", "README.md"),
        ("directory", "data"),
    ]
    text = {"type": "file", "oid": git_sha1(b"b\n"), "size": 2, "path": "data/b.txt"}
    assert raw.http.get(f"{raw.api}/tree/main/data").json() == [lfs_entry("data/a.bin"), text]
    assert code(raw.http.get(f"{raw.api}/tree/main/nowhere")) == (404, "EntryNotFound")
    assert code(raw.http.get(f"{raw.api}/tree/nothing")) == (404, "RevisionNotFound")
    expanded = raw.http.get(f"{raw.api}/tree/main", params={"expand": "true"}).json()
    assert expanded[0]["lastCommit"]["id"] == raw.head()


def test_tree_pages_by_link_header(raw: Raw) -> None:
    found, address = [], f"{raw.api}/tree/main?recursive=true&limit=2"
    for _ in range(3):
        page = raw.http.get(address)
        found += [row["path"] for row in page.json()]
        if "next" not in page.links:
            break
        address = page.links["next"]["url"]
    assert found == [".gitattributes", "README.md", "data", "data/a.bin", "data/b.txt"]


def test_paths_info(raw: Raw) -> None:
    answer = raw.http.post(f"{raw.api}/paths-info/main", data={"paths": ["data/a.bin", "nowhere"]})
    assert answer.json() == [lfs_entry("data/a.bin")]


def test_refs_branches_and_tags(raw: Raw) -> None:
    head = raw.head()
    assert raw.http.post(f"{raw.api}/branch/dev%2Fone", json={}).status_code == 200
    assert raw.http.post(f"{raw.api}/branch/dev%2Fone", json={}).status_code == 409
    assert raw.http.post(f"{raw.api}/tag/{head}", json={"tag": "v1"}).status_code == 200
    assert raw.http.post(f"{raw.api}/tag/main", json={"tag": "v1"}).status_code == 409
    assert code(raw.http.post(f"{raw.api}/tag/nothing", json={"tag": "v2"})) == (404, "RevisionNotFound")
    refs = raw.http.get(f"{raw.api}/refs").json()
    assert set(refs) == {"branches", "converts", "tags", "pullRequests"}
    assert refs["tags"] == [{"name": "v1", "ref": "refs/tags/v1", "targetCommit": head}]
    assert [ref["name"] for ref in refs["branches"]] == ["dev/one", "main"]
    assert raw.http.delete(f"{raw.api}/branch/dev%2Fone").status_code == 200
    assert raw.http.delete(f"{raw.api}/tag/v1").status_code == 200
    assert code(raw.http.delete(f"{raw.api}/tag/v1")) == (404, "RevisionNotFound")
    assert raw.http.delete(f"{raw.api}/branch/main").status_code == 403


def test_commits(raw: Raw) -> None:
    rows = raw.http.get(f"{raw.api}/commits/main").json()
    assert [row["title"] for row in rows] == ["change", "initial commit"]
    assert rows[0]["id"] == raw.head()
    assert rows[0]["authors"] == [{"user": raw.hub.name}]
    assert set(rows[0]) == {"id", "title", "message", "date", "authors"}


@pytest.mark.parametrize(
    ("card", "status", "message"),
    [
        (CARD.decode(), 200, None),
        ("---\nlicense: [mit\n---\n", 400, "Invalid YAML"),
        ("---\na: 1\na: 2\n---\n", 400, "duplicated mapping key"),
        ("---\nlicense: license\n---\n", 400, '"license" must be one of'),
        ("---\ntags: dpo\n---\n", 400, '"tags" must be an array'),
        ("---\nconfigs:\n- data_files: x\n---\n", 400, "config_name"),
    ],
)
def test_validate_yaml(hub: HubAccount, card: str, status: int, message: str | None) -> None:
    body = {"content": card, "repoType": "dataset"}
    answer = httpx.post(f"{hub.endpoint}/api/validate-yaml", json=body)
    assert answer.status_code == status
    assert set(answer.json()) == {"errors", "warnings"}
    assert [message in error["message"] for error in answer.json()["errors"] if message] == [True] * bool(message)


def test_validate_yaml_warns_of_no_metadata(hub: HubAccount) -> None:
    answer = httpx.post(f"{hub.endpoint}/api/validate-yaml", json={"content": "# x", "repoType": "model"})
    assert answer.status_code == 200
    assert answer.json()["warnings"]


def test_preupload(raw: Raw) -> None:
    def asked(path: str, content: bytes, size: int | None = None) -> dict[str, Any]:
        sample = base64.b64encode(content[:512]).decode()
        files = [{"path": path, "sample": sample, "size": len(content) if size is None else size}]
        answer = raw.http.post(f"{raw.api}/preupload/main", json={"files": files, "gitIgnore": "*.log"})
        return dict(answer.json()["files"][0])

    assert asked("x.parquet", b"text") == {"path": "x.parquet", "uploadMode": "lfs", "shouldIgnore": False}
    assert asked("x.txt", b"text")["uploadMode"] == "regular"
    assert asked("x.txt", BLOB)["uploadMode"] == "lfs"
    assert asked("x.txt", b"text", 11_000_000)["uploadMode"] == "lfs"
    assert asked("x.log", b"text")["shouldIgnore"] is True
    assert asked("README.md", CARD)["oid"] == git_sha1(CARD)
    assert asked("data/a.bin", BLOB)["oid"] == hashlib.sha256(BLOB).hexdigest()


def test_commit(raw: Raw) -> None:
    head = raw.head()
    add, gone = file_line("new.txt", b"new"), ("deletedFile", {"path": "data/b.txt"})
    done = raw.commit(add, gone, parentCommit=head).json()
    assert done["commitOid"] == raw.head() != head
    assert done["commitUrl"] == f"{raw.hub.endpoint}{raw.web}/commit/{done['commitOid']}"
    paths = [row["path"] for row in raw.http.get(f"{raw.api}/tree/main?recursive=true").json()]
    assert paths == [".gitattributes", "README.md", "data", "data/a.bin", "new.txt"]
    assert raw.commit(("deletedFolder", {"path": "data/"})).status_code == 200


def test_commit_refuses(raw: Raw) -> None:
    head = raw.head()
    assert raw.commit(file_line("a", b"a")).status_code == 200
    new = raw.head()
    stale = raw.commit(file_line("b", b"b"), parentCommit=head)
    assert stale.status_code == 412
    assert code(raw.commit(("deletedFile", {"path": "nowhere"}))) == (404, "EntryNotFound")
    assert code(raw.commit(file_line("b", b"b"), rev="nothing")) == (404, "RevisionNotFound")
    assert raw.commit(("lfsFile", {"path": "x", "oid": "0" * 64})).status_code == 400
    assert raw.commit(file_line("README.md", b"---\nlicense: license\n---\n")).status_code == 400
    assert raw.anonymous.post(f"{raw.api}/commit/main", content="{}").status_code == 401
    raw.hub.hub.faults.add("commit", "status", status=409)
    assert raw.commit(file_line("b", b"b")).status_code == 409
    assert raw.head() == new


def test_commit_to_a_pull_request(raw: Raw) -> None:
    head = raw.head()
    done = raw.commit(file_line("new.txt", b"new"), query="?create_pr=1", parentCommit=head).json()
    assert done["pullRequestUrl"] == f"{raw.hub.endpoint}{raw.web}/discussions/1"
    assert raw.head() == head
    assert raw.head("refs/pr/1") == done["commitOid"]
    refs = raw.http.get(f"{raw.api}/refs", params={"include_prs": 1}).json()
    assert refs["pullRequests"][0] == {
        "name": "refs/pr/1",
        "ref": "refs/pr/1",
        "targetCommit": done["commitOid"],
    }
    assert raw.http.post(f"{raw.api}/discussions/1/merge").status_code == 200
    assert raw.http.get(f"{raw.web}/resolve/main/new.txt").text == "new"
    assert raw.http.post(f"{raw.api}/discussions/1/merge").status_code == 400


def test_lfs_single(raw: Raw) -> None:
    content = raw.id.encode()
    oid = hashlib.sha256(content).hexdigest()
    actions = raw.batch(oid, len(content)).json()["objects"][0]["actions"]
    assert httpx.put(actions["upload"]["href"], content=b"other").status_code == 400
    assert raw.http.post(actions["verify"]["href"], json={"oid": oid, "size": len(content)}).status_code == 404
    assert httpx.put(actions["upload"]["href"], content=content).status_code == 200
    assert raw.http.post(actions["verify"]["href"], json={"oid": oid, "size": len(content)}).status_code == 200
    assert "actions" not in raw.batch(oid, len(content)).json()["objects"][0]


def test_lfs_multipart(raw: Raw) -> None:
    content = raw.id.encode() * 20_000
    oid = hashlib.sha256(content).hexdigest()
    answer = raw.batch(oid, len(content)).json()
    upload = answer["objects"][0]["actions"]["upload"]
    size = int(upload["header"].pop("chunk_size"))
    assert answer["transfer"] == "multipart"
    assert len(upload["header"]) == -(-len(content) // size)
    parts = []
    for number, address in sorted(upload["header"].items()):
        start = size * (int(number) - 1)
        etag = httpx.put(address, content=content[start : start + size]).headers["etag"]
        parts.append({"partNumber": int(number), "etag": etag})
    assert httpx.post(upload["href"], json={"oid": oid, "parts": parts[:-1]}).status_code == 400
    assert httpx.post(upload["href"], json={"oid": oid, "parts": parts}).status_code == 200
    assert "actions" not in raw.batch(oid, len(content)).json()["objects"][0]


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_resolve(raw: Raw, method: str) -> None:
    address, sha256 = f"{raw.web}/resolve/main", hashlib.sha256(BLOB).hexdigest()
    lfs = raw.anonymous.request(method, f"{address}/data/a.bin")
    assert lfs.status_code == 200
    assert lfs.headers["x-repo-commit"] == raw.head()
    assert lfs.headers["x-linked-etag"] == lfs.headers["etag"] == f'"{sha256}"'
    assert lfs.headers["x-linked-size"] == lfs.headers["content-length"] == str(len(BLOB))
    assert lfs.content == (BLOB if method == "GET" else b"")
    text = raw.anonymous.request(method, f"{address}/README.md")
    assert text.headers["etag"] == f'"{git_sha1(CARD)}"'
    assert "x-linked-etag" not in text.headers
    raw.http.post(f"{raw.api}/branch/dev%2Fone", json={})
    assert raw.anonymous.request(method, f"{raw.web}/resolve/dev%2Fone/README.md").status_code == 200
    assert code(raw.anonymous.request(method, f"{address}/nowhere")) == (404, "EntryNotFound")
    assert code(raw.anonymous.request(method, f"{raw.web}/resolve/nothing/README.md")) == (404, "RevisionNotFound")
    assert code(raw.anonymous.request(method, f"{raw.web}x/resolve/main/README.md")) == (401, "RepoNotFound")


def test_resolve_a_range(raw: Raw) -> None:
    part = raw.http.get(f"{raw.web}/resolve/main/README.md", headers={"range": "bytes=4-11"})
    assert (part.status_code, part.content) == (206, CARD[4:12])
