"""Tables of the Hub: read at a commit, and what is cached without the Hub."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import CommitOperationAdd, HfApi

from mmpref.errors import InputError
from mmpref.tables.open import open_table
from tests import bare
from tests.hub_fixtures import HubAccount
from tests.tables.made_rows import png, write


def printed(code: str, asked: Sequence[tuple[str | None, ...]], env: dict[str, str]) -> list[list[Any]]:
    """What a process of its own prints of each table that it is asked for."""
    done = bare.python(code, json.dumps(asked), environment=env)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


HUB = """
import json, sys
from mmpref.errors import MmprefError
from mmpref.tables.open import open_table
for spec, split, config, revision in json.loads(sys.argv[1]):
    try:
        table = open_table(spec, split, config=config, revision=revision)
        rows = list(table)
        print(json.dumps([table.facts(), len(rows), rows[0]["id"], len(rows[0]["image"]["bytes"])]))
    except MmprefError as error:
        print(json.dumps([type(error).__name__, str(error)]))
"""


def test_a_hub_dataset_is_read_at_a_commit(hub: HubAccount, hub_env: dict[str, str], tmp_path: Path) -> None:
    import datasets

    from mmpref.hub._remote import Content
    from mmpref.hub.publish import publish_folder
    from mmpref.hub.published import Published

    repo = f"{hub.name}/pairs"
    features = datasets.Features({"id": datasets.Value("string"), "image": datasets.Image()})

    def publish(count: int) -> Published:
        rows = {"id": [f"r{i}" for i in range(count)], "image": [{"bytes": png(), "path": None}] * count}
        folder = tmp_path / "pairs"
        (folder / "data").mkdir(parents=True, exist_ok=True)
        datasets.Dataset.from_dict(rows, features=features).to_parquet(folder / "data/train-00000-of-00001.parquet")
        (folder / "README.md").write_text("---\nlicense: mit\n---\n# Pairs\n")
        return publish_folder(Content(folder, f"{count} rows"), repo, "dataset", token=hub.token, endpoint=hub.endpoint)

    first, second = publish(6), publish(3)
    asked = [
        (repo, None, None, None),
        (repo, "train", None, first.commit),
        (repo, "dev", None, None),
        (repo, "train", "other", None),
        (f"hf://datasets/{repo}@{first.commit}", "train", "other", None),
        (repo, "train", None, "nowhere"),
        (f"{hub.name}/none", None, None, None),
        ("a b/c", None, None, None),
    ]
    newest, old, split, config, at_commit, revision, missing, odd = printed(HUB, asked, hub_env)
    assert (newest[0]["revision"], newest[1:3]) == (second.commit, [3, "r0"])
    assert newest[0]["licence"] == "mit"
    assert (old[0]["revision"], old[1]) == (first.commit, 6)
    assert old[3] == len(png())
    assert split[0] == config[0] == at_commit[0] == revision[0] == missing[0] == odd[0] == "InputError"
    assert "train" in split[1]
    assert "default" in config[1]
    assert "no revision 'nowhere'" in revision[1]
    assert hub.endpoint in missing[1]


def test_a_hub_that_does_not_answer_is_named(hub_env: dict[str, str]) -> None:
    for changes in ({"HF_ENDPOINT": "http://127.0.0.1:9"}, {"HF_HUB_OFFLINE": "1"}):
        env = {**hub_env, **changes}
        [[kind, message]] = printed(HUB, [("me/pairs", None, None, None)], env)
        assert kind == "HubError"
        assert env["HF_ENDPOINT"] in message
        assert "\n" not in message
        assert "mmpref's own tables are: testbed" in message
        said = "HF_HUB_OFFLINE is set" if "HF_HUB_OFFLINE" in changes else "Connection refused"
        assert f"a dataset of that name: {said}." in message


OFFLINE = """
import json, sys
from mmpref.errors import MmprefError
from mmpref.tables.open import open_table
for spec, revision in json.loads(sys.argv[1]):
    try:
        table = open_table(spec, "train", revision=revision)
        print(json.dumps([table.revision, table.licence, [row["id"] for row in table], table.fingerprint]))
    except MmprefError as error:
        print(json.dumps([type(error).__name__, str(error)]))
"""
FAR = {"HF_ENDPOINT": "http://127.0.0.1:9"}


@pytest.fixture
def two_commits(hub: HubAccount, tmp_path: Path) -> tuple[str, list[str]]:
    """A Hub dataset of two commits with 2 and 3 rows, and their names."""
    from mmpref.hub._remote import Content
    from mmpref.hub.publish import publish_folder

    repo, commits = f"{hub.name}/pairs", []
    for count in (2, 3):
        folder = tmp_path / f"pairs-{count}"
        rows = [{"id": f"r{index}"} for index in range(count)]
        for shard in range(2):
            write(folder / f"data/train-{shard:05d}-of-00002.parquet", rows[shard::2])
        (folder / "README.md").write_text("---\nlicense: mit\n---\n")
        done = publish_folder(Content(folder, f"{count}"), repo, "dataset", token=hub.token, endpoint=hub.endpoint)
        commits.append(done.commit)
    return repo, commits


def test_what_is_cached_is_read_without_the_hub(
    hub: HubAccount, hub_env: dict[str, str], two_commits: tuple[str, list[str]]
) -> None:
    repo, (old, new) = two_commits
    file = f"hf://datasets/{repo}/data/train-00000-of-00002.parquet"
    asked = [(repo, None), (repo, old), (f"{hub.endpoint}/datasets/{repo}", new), (file, None)]
    online = printed(OFFLINE, asked, hub_env)
    assert [(one[0], one[1], len(one[2])) for one in online] == [
        (new, "mit", 3),
        (old, "mit", 2),
        (new, "mit", 3),
        (new, "mit", 2),
    ]
    for changes in ({"HF_HUB_OFFLINE": "1"}, FAR):
        there = [(spec.replace(hub.endpoint, "https://huggingface.co"), at) for spec, at in asked]
        assert printed(OFFLINE, there, hub_env | changes) == online


def test_a_hub_that_gave_no_answer_is_not_asked_again(
    hub_env: dict[str, str], two_commits: tuple[str, list[str]]
) -> None:
    repo, (old, new) = two_commits
    online = printed(OFFLINE, [(repo, None), (repo, old)], hub_env)
    taken = []
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()

        def hang_up() -> None:
            while True:
                try:
                    taken.append(server.accept()[0].close())
                except OSError:
                    return

        threading.Thread(target=hang_up, daemon=True).start()
        away = hub_env | {"HF_ENDPOINT": f"http://127.0.0.1:{server.getsockname()[1]}"}
        assert printed(OFFLINE, [(repo, None), (repo, old)], away) == online
        server.shutdown(socket.SHUT_RDWR)
    assert [one[0] for one in online] == [new, old]
    assert len(taken) == 1


def test_what_another_program_cached_is_read_without_the_hub(
    hub_env: dict[str, str], two_commits: tuple[str, list[str]]
) -> None:
    repo, (_, new) = two_commits
    fetch = "import sys, huggingface_hub; huggingface_hub.snapshot_download(sys.argv[1], repo_type='dataset')"
    assert bare.python(fetch, repo, environment=hub_env).returncode == 0
    offline = hub_env | {"HF_HUB_OFFLINE": "1"}
    for revision, licence, ids, _ in printed(OFFLINE, [(repo, None), (repo, "main"), (repo, new)], offline):
        assert (revision, licence, sorted(ids)) == (new, "mit", ["r0", "r1", "r2"])
    [snapshot] = (Path(hub_env["HF_HOME"]) / "hub").glob("datasets--*/snapshots/*")
    (snapshot / "data/train-00001-of-00002.parquet").unlink()
    empty = offline | {"HF_DATASETS_CACHE": str(snapshot.parents[3] / "empty")}
    [[kind, message]] = printed(OFFLINE, [(repo, None)], empty)
    assert kind == "HubError"
    assert "data/train-00001-of-00002.parquet" in message


def test_another_commit_is_not_read_in_its_place(hub_env: dict[str, str], two_commits: tuple[str, list[str]]) -> None:
    """The datasets library would: it takes the newest that it has where a download fails."""
    repo, (old, new) = two_commits
    printed(OFFLINE, [(repo, old)], hub_env)
    asked = [(repo, new), (repo, None), (f"hf://datasets/{repo}/data/train-00000-of-00002.parquet", None)]
    for kind, message in printed(OFFLINE, asked, hub_env | {"HF_HUB_OFFLINE": "1"}):
        assert kind == "HubError", message


CONFIGS = """
import json, sys
from mmpref.errors import MmprefError
from mmpref.tables._repository import repository
from mmpref.tables.open import open_table
for spec, config, part in json.loads(sys.argv[1]):
    try:
        if part:
            import datasets
            repository(spec, None)
            rows = datasets.load_dataset(spec, data_files=part, split="train")
        else:
            rows = open_table(spec, "train", config=config)
        print(json.dumps([row["id"] for row in rows]))
    except MmprefError as error:
        print(json.dumps([type(error).__name__, str(error)]))
"""


def test_no_configuration_is_read_because_it_is_the_one_that_is_cached(
    hub: HubAccount, hub_env: dict[str, str]
) -> None:
    api = HfApi(endpoint=hub.endpoint, token=hub.token)

    def published(name: str, *configs: str) -> str:
        rows = [f"- config_name: {one.partition(',')[0]}\n  data_files: {one[:2]}.jsonl\n" for one in configs]
        rows = [row + ("  default: true\n" if "default" in one else "") for row, one in zip(rows, configs, strict=True)]
        repo = api.create_repo(f"{hub.name}/{name}", repo_type="dataset").repo_id
        card = f"---\nconfigs:\n{''.join(rows)}---\n" if configs else "# Pairs\n"
        files = {"README.md": card, "en.jsonl": '{"id": "en"}\n', "de.jsonl": '{"id": "de"}\n'}
        add = [CommitOperationAdd(path, content.encode()) for path, content in files.items()]
        api.create_commit(repo, add, commit_message="Pairs", repo_type="dataset")
        return repo

    several, chosen = published("several", "en", "de"), published("chosen", "en, default", "de")
    alone, parts = published("alone", "de"), published("parts")
    asked = [(several, "de", None), (chosen, "de", None), (alone, None, None), (parts, None, "de.jsonl")]
    assert printed(CONFIGS, asked, hub_env) == [["de"]] * 4
    asked = [*((repo, None, None) for repo in (alone, several, chosen, parts)), (several, "de", None)]
    read, *refused, named = printed(CONFIGS, asked, hub_env | {"HF_HUB_OFFLINE": "1"})
    assert read == named == ["de"]
    kinds, (told, not_cached, gap) = zip(*refused, strict=True)
    assert kinds == ("InputError", "HubError", "HubError")
    assert "has several configurations, and none is its default: en, de." in told
    assert "--source-config" in told
    assert "such as en.jsonl" in not_cached
    assert "Its configuration de is cached: --source-config=de." in not_cached
    assert "such as en.jsonl" in gap
    for file in (Path(hub_env["HF_HOME"]) / "hub").glob(f"datasets--{hub.name}--alone/snapshots/*/README.md"):
        file.unlink()
    [[kind, unknown]] = printed(CONFIGS, asked[:1], hub_env | {"HF_HUB_OFFLINE": "1"})
    assert kind == "HubError"
    assert "its card, which names the configurations, is not cached here" in unknown


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("https://huggingface.co/alice/merged", "page of a model"),
        ("https://huggingface.co/datasets/alice/mixed/tree/main/data", "alice/mixed"),
    ],
)
def test_other_pages_of_the_hub_are_named(address: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        open_table(address)
