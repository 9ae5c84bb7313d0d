"""What goes with a published run: a collection of its chain, the card of the version before, a demo Space."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError

from mmpref.errors import HubError, UsageError
from mmpref.hub.collection import chain_of
from mmpref.hub.companions import Companions
from mmpref.hub.new_version import with_new_version
from mmpref.hub.published import Published
from mmpref.hub.space import GRADIO, app_text, publish_space
from mmpref.hub.target import Target, find_target
from mmpref.run.manifest import read_manifest
from mmpref.tables.open import open_table
from tests import bare
from tests.hub.pushed import adapter_facts, metadata, published_files, push
from tests.hub.runs import COMMIT, RECIPE_HASH, adapter_run, dataset_run, evaluation_run
from tests.hub.test_publish_run import BASE
from tests.hub_fixtures import HubAccount

TITLE = "BDHS on my VLM"


def api(hub: HubAccount) -> HfApi:
    return HfApi(endpoint=hub.endpoint, token=hub.token)


def publish(hub: HubAccount, path: Path, name: str, *, samples_only: bool = False, **wanted: Any) -> Published:
    """Publish a run with what goes with it."""
    where = {"token": hub.token, "endpoint": hub.endpoint}
    companions, manifest = Companions(**wanted), read_manifest(path)
    kind: Any = "dataset" if samples_only or manifest["command"] == "build-dataset" else "model"
    target = find_target(f"{hub.name}/{name}", kind, private=wanted.get("private", False), **where)
    companions = companions.checked(manifest, target, **where)
    options: dict[str, Any] = {"replace": wanted.get("replace", False), "base_hub_id": wanted.get("base_hub_id")}
    done = push(hub, path, name, samples_only=samples_only, private=wanted.get("private", False), **options)
    return companions.publish(path, manifest, done, **where)


def items(hub: HubAccount, url: str) -> list[tuple[str, str, str | None]]:
    """What a collection holds, as the Hub's client reads it."""
    collection = api(hub).get_collection(url.removeprefix(f"{hub.endpoint}/collections/"))
    return [(item.item_type, item.item_id.split("/")[1], item.note) for item in collection.items]


def test_a_chain_is_gathered_in_one_collection(hub: HubAccount, tmp_path: Path) -> None:
    pairs, adapter, evaluation = tmp_path / "pairs", tmp_path / "adapter", tmp_path / "evaluation"
    dataset_run(pairs)
    first = publish(hub, pairs, "pairs", collection=TITLE)
    manifest = adapter_run(adapter, BASE, COMMIT)
    manifest["datasets"] = [{**open_table(str(pairs), "train").facts(), "rows": 3}]
    (adapter / "run.json").write_text(json.dumps(manifest))
    second = publish(hub, adapter, "vlm", collection=TITLE)
    evaluation_run(evaluation, adapter_facts(adapter))
    row = {"id": "1", "prompt": "Is it?", "answer": "Yes", "counts": "{}"}
    pq.write_table(pa.Table.from_pylist([row]), evaluation / "samples/base-pope.parquet")
    publish(hub, evaluation, "answers", samples_only=True)
    third = publish(hub, evaluation, "vlm", collection=TITLE)
    assert first.collection == second.collection == third.collection
    assert items(hub, third.collection) == [
        ("dataset", "pairs", "Preference pairs"),
        ("model", "vlm", "The adapter"),
        ("dataset", "answers", "Per-sample records of the evaluation"),
    ]
    slug = third.collection.removeprefix(f"{hub.endpoint}/collections/")
    api(hub).update_collection_item(slug, api(hub).get_collection(slug).items[1].item_object_id, note="Mine, the best")
    assert publish(hub, adapter, "vlm", collection=TITLE).collection == third.collection
    assert items(hub, third.collection)[1:2] == [("model", "vlm", "Mine, the best")], "the owner's words stay"
    assert len(items(hub, third.collection)) == 3
    assert publish(hub, adapter, "vlm", collection="Another").collection != third.collection


def test_an_adapter_brings_the_published_data_that_it_was_trained_on(hub: HubAccount, tmp_path: Path) -> None:
    api(hub).create_repo(f"{hub.name}/bdhs", repo_type="dataset")
    manifest = adapter_run(tmp_path / "adapter", BASE, COMMIT)
    known = {"revision": COMMIT, "fingerprint": COMMIT, "rows": 5}
    manifest["datasets"] = [{"id": f"{hub.name}/bdhs", **known}, {"id": "gone/away", **known}]
    (tmp_path / "adapter/run.json").write_text(json.dumps(manifest))
    done = publish(hub, tmp_path / "adapter", "vlm", collection=TITLE)
    assert [name for _, name, _ in items(hub, done.collection)] == ["bdhs", "vlm"]


def test_a_folder_of_pairs_that_was_published_is_named_by_its_repository(hub: HubAccount, tmp_path: Path) -> None:
    """In the card's metadata, table and command, in the manifest and in the collection."""
    dataset_run(tmp_path / "pairs")
    pairs = publish(hub, tmp_path / "pairs", "bdhs")
    manifest = adapter_run(tmp_path / "adapter", BASE, COMMIT)
    where, never = str(tmp_path / "pairs"), str(tmp_path / "never")
    manifest["recipe"] |= {"dataset": [where, never]}
    manifest["datasets"] = [
        {**open_table(where, "train").facts(), "rows": 3},
        {"id": never, "revision": None, "fingerprint": "sha256:1", "rows": 3},
    ]
    (tmp_path / "adapter/run.json").write_text(json.dumps(manifest))
    done = publish(hub, tmp_path / "adapter", "vlm", collection=TITLE)
    files = {name: hub.hub.read("model", f"{hub.name}/vlm", name) for name in ("README.md", "run.json")}
    card, repo = files["README.md"].decode(), f"{hub.name}/bdhs"
    assert metadata(files["README.md"])["datasets"] == [repo]
    assert f"--dataset hf://datasets/{repo}@{pairs.commit} \\\n  --dataset /path/to/never \\\n" in card
    assert f"| <code>{repo}</code> | <code>{pairs.commit}</code> | 3 |" in card
    assert json.loads(files["run.json"])["recipe"]["dataset"] == [repo, "/path/to/never"]
    assert [name for _, name, _ in items(hub, done.collection)] == ["bdhs", "vlm"]


@pytest.mark.parametrize("trained_on_published", [True, False])
def test_pairs_that_were_published_are_not_named_where_others_were_trained_on(
    hub: HubAccount, tmp_path: Path, trained_on_published: bool
) -> None:
    """The folder was changed after the training and published anew, or before it and was not."""
    pairs = tmp_path / "pairs"
    dataset_run(pairs)
    facts = [open_table(str(pairs), "train").facts()]
    publish(hub, pairs, "bdhs")
    [file] = (pairs / "data").iterdir()
    pq.write_table(pq.read_table(file).slice(1), file)
    facts.append(open_table(str(pairs), "train").facts())
    if trained_on_published:
        publish(hub, pairs, "bdhs", replace=True)
    manifest = adapter_run(tmp_path / "adapter", BASE, COMMIT)
    manifest["recipe"] |= {"dataset": [str(pairs)]}
    manifest["datasets"] = [{**facts[0 if trained_on_published else 1], "rows": 3}]
    (tmp_path / "adapter/run.json").write_text(json.dumps(manifest))
    done = publish(hub, tmp_path / "adapter", "vlm", collection=TITLE)
    card = hub.hub.read("model", f"{hub.name}/vlm", "README.md").decode()
    assert "--dataset /path/to/pairs \\\n" in card
    assert f"{hub.name}/bdhs" not in card
    assert [name for _, name, _ in items(hub, done.collection)] == ["vlm"]


def test_a_public_card_that_names_private_data_is_warned_of(
    hub: HubAccount, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dataset_run(tmp_path / "pairs")
    done = publish(hub, tmp_path / "pairs", "bdhs", private=True)
    manifest = adapter_run(tmp_path / "adapter", BASE, COMMIT)
    manifest["datasets"] = [{"id": done.repo_id, "revision": done.commit, "fingerprint": done.commit, "rows": 3}]
    (tmp_path / "adapter/run.json").write_text(json.dumps(manifest))
    publish(hub, tmp_path / "adapter", "closed", private=True)
    assert "private or gone" not in caplog.text
    publish(hub, tmp_path / "adapter", "open")
    assert f"the card names the dataset {done.repo_id}, which is private or gone" in caplog.text


def test_a_collection_of_what_is_private_is_private(hub: HubAccount, tmp_path: Path) -> None:
    dataset_run(tmp_path / "pairs")
    done = publish(hub, tmp_path / "pairs", "pairs", collection=TITLE, private=True)
    slug = done.collection.removeprefix(f"{hub.endpoint}/collections/")
    with pytest.raises(HfHubHTTPError, match="404"):
        HfApi(endpoint=hub.endpoint, token=False).get_collection(slug)
    assert api(hub).get_collection(slug).private


def test_what_the_hub_says_of_a_collection_is_told(hub: HubAccount, tmp_path: Path) -> None:
    dataset_run(tmp_path / "pairs")
    done = push(hub, tmp_path / "pairs", "pairs")
    where = {"token": hub.token, "endpoint": hub.endpoint}
    with pytest.raises(HubError, match=r"make the collection.*too long"):
        Companions(collection="long " * 20).publish(
            tmp_path / "pairs", read_manifest(tmp_path / "pairs"), done, **where
        )


@pytest.mark.parametrize("title", ["", " ", "x" * 61])
def test_a_title_that_the_hub_would_refuse_is_refused_before(hub: HubAccount, tmp_path: Path, title: str) -> None:
    dataset_run(tmp_path / "pairs")
    assert Companions(collection=title)
    with pytest.raises(UsageError, match=f"title of {len(title)} characters"):
        publish(hub, tmp_path / "pairs", "pairs", collection=title)
    assert ("dataset", f"{hub.name}/pairs") not in hub.hub.store.repos
    assert publish(hub, tmp_path / "pairs", "pairs", collection="x" * 60).collection


def test_a_note_says_whether_it_is_an_adapter_or_a_model(hub: HubAccount, tmp_path: Path) -> None:
    done = Published("", COMMIT, None, None, True, "me/vlm", "model")
    notes = [
        chain_of(tmp_path, {"command": command, **facts}, done, hub.endpoint, merged=merged)[0].note
        for command, facts, merged in [
            ("train", {}, False),
            ("train", {}, True),
            ("evaluate", {"adapter": {"id": "me/vlm"}}, False),
            ("evaluate", {"adapter": None}, False),
        ]
    ]
    assert notes == ["The adapter", "The model", "The adapter, with its results", "The model, with its results"]
    manifest = adapter_run(tmp_path / "adapter", BASE, COMMIT)
    where = {"token": hub.token, "endpoint": hub.endpoint}
    push(hub, tmp_path / "adapter", "merged", merged=tmp_path / "adapter", accept_private=True)
    done = replace(done, repo_id=f"{hub.name}/merged")
    done = Companions(collection=TITLE, merged=True).publish(tmp_path / "adapter", manifest, done, **where)
    assert items(hub, str(done.collection))[-1] == ("model", "merged", "The model")


def test_what_goes_with_a_private_model_must_be_private(hub: HubAccount, tmp_path: Path) -> None:
    """Of one that is private already, too: nobody has to say so again."""
    adapter_run(tmp_path / "adapter", BASE, COMMIT)
    push(hub, tmp_path / "adapter", "v1")
    first = push(hub, tmp_path / "adapter", "vlm", private=True)
    before = published_files(hub, "model", "v1")
    api(hub).create_repo(f"{hub.name}/vlm-demo", repo_type="space", space_sdk="gradio")
    public = api(hub).create_collection(TITLE, namespace=hub.name)
    manifest = read_manifest(tmp_path / "adapter")
    (tmp_path / "adapter/run.json").write_text(json.dumps({**manifest, "versions": {"mmpref": "next"}}))
    for wanted, reason in (
        ({"space": True}, (HubError, "vlm-demo exists and is public")),
        ({"collection": TITLE}, (HubError, rf"{public.slug} exists and is public")),
        ({"new_version_of": "v1"}, (UsageError, rf"v1 is public, and its card would name the private {hub.name}/vlm")),
    ):
        with pytest.raises(reason[0], match=reason[1]):
            publish(hub, tmp_path / "adapter", "vlm", **wanted)
    target = find_target(f"{hub.name}/vlm", "model", token=hub.token, endpoint=hub.endpoint)
    assert (api(hub).model_info(target.repo_id).sha, published_files(hub, "model", "v1")) == (first.commit, before)
    done = publish(hub, tmp_path / "adapter", "vlm", collection="Another")
    assert api(hub).get_collection(str(done.collection).removeprefix(f"{hub.endpoint}/collections/")).private


def test_the_earlier_card_points_to_the_new_version(hub: HubAccount, tmp_path: Path) -> None:
    adapter_run(tmp_path / "old", BASE, COMMIT)
    adapter_run(tmp_path / "new", BASE, COMMIT)
    push(hub, tmp_path / "old", "v1")
    before = published_files(hub, "model", "v1")
    done = publish(hub, tmp_path / "new", "v2", new_version_of=f"{hub.name}/v1")
    after = published_files(hub, "model", "v1")
    assert metadata(after["README.md"])["new_version"] == f"{hub.name}/v2"
    assert after["README.md"].decode().replace(f"new_version: {hub.name}/v2\n", "") == before["README.md"].decode()
    assert {**after, "README.md": b""} == {**before, "README.md": b""}
    assert done.new_version_of == f"{hub.endpoint}/{hub.name}/v1"
    commits = hub.hub.titles("model", f"{hub.name}/v1")
    publish(hub, tmp_path / "new", "v2", new_version_of=f"{hub.name}/v1")
    assert hub.hub.titles("model", f"{hub.name}/v1") == commits
    push(hub, tmp_path / "old", "v1")
    assert metadata(published_files(hub, "model", "v1")["README.md"])["new_version"] == f"{hub.name}/v2"


def test_an_earlier_model_may_go_by_its_name_alone(hub: HubAccount, tmp_path: Path) -> None:
    adapter_run(tmp_path / "adapter", BASE, COMMIT)
    push(hub, tmp_path / "adapter", "v1")
    done = publish(hub, tmp_path / "adapter", "v2", new_version_of="v1")
    assert done.new_version_of == f"{hub.endpoint}/{hub.name}/v1"
    assert metadata(published_files(hub, "model", "v1")["README.md"])["new_version"] == f"{hub.name}/v2"
    for old, reason in (
        ("v3", "no new version of itself"),
        ("gone", f"There is no model repository {hub.name}/gone, whose card could point to {hub.name}/v3"),
        ("", "not a valid repository id"),
    ):
        with pytest.raises(UsageError, match=reason):
            publish(hub, tmp_path / "adapter", "v3", new_version_of=old)
    assert ("model", f"{hub.name}/v3") not in hub.hub.store.repos


def test_a_card_keeps_everything_beside_its_new_version() -> None:
    card = "---\nlicense: mit # by hand\nnew_version: me/v2\n---\n\n# Mine\n"
    assert with_new_version(card, "me/v3") == "---\nlicense: mit # by hand\nnew_version: me/v3\n---\n\n# Mine\n"
    assert with_new_version("", "me/v2") == "---\nnew_version: me/v2\n---\n"
    with pytest.raises(HubError, match="not valid YAML"):
        with_new_version("---\na: [\n---\n", "me/v2")


def test_a_demo_space_is_made(hub: HubAccount, tmp_path: Path) -> None:
    adapter_run(tmp_path / "adapter", BASE, COMMIT)
    done = publish(hub, tmp_path / "adapter", "vlm", space=True, collection=TITLE)
    assert done.space == f"{hub.endpoint}/spaces/{hub.name}/vlm-demo"
    assert items(hub, done.collection)[-1] == ("space", "vlm-demo", "Base and adapter side by side")
    info = api(hub).space_info(f"{hub.name}/vlm-demo")
    assert info.sdk == "gradio"
    files = published_files(hub, "space", "vlm-demo")
    assert set(files) - {".gitattributes"} == {"README.md", "app.py", "requirements.txt", "run.json"}
    card = metadata(files["README.md"])
    assert (card["sdk"], card["sdk_version"], card["app_file"]) == ("gradio", GRADIO, "app.py")
    assert card["models"] == [BASE, f"{hub.name}/vlm"]
    assert len(card["short_description"]) <= 60
    assert f"BASE, REVISION = {BASE!r}, {COMMIT!r}" in files["app.py"].decode()
    assert f"ADAPTER, ADAPTER_REVISION = {hub.name + '/vlm'!r}, {done.commit!r}" in files["app.py"].decode()
    compile(files["app.py"], "app.py", "exec")
    titles = hub.hub.titles("space", f"{hub.name}/vlm-demo")
    assert publish(hub, tmp_path / "adapter", "vlm", space=True).space == done.space
    assert hub.hub.titles("space", f"{hub.name}/vlm-demo") == titles


@pytest.mark.parametrize("odd", ["since: 2024-13-45", f"more: {'[' * (sys.getrecursionlimit() // 2 + 100)}"])
def test_a_demo_is_made_beside_a_card_that_cannot_be_read(hub: HubAccount, tmp_path: Path, odd: str) -> None:
    manifest = adapter_run(tmp_path / "adapter", BASE, COMMIT)
    done = push(hub, tmp_path / "adapter", "vlm")
    (tmp_path / "adapter/README.md").write_text(f"---\nlicense: mit\n{odd}\n---\n")
    publish_space(tmp_path / "adapter", manifest, done, token=hub.token, endpoint=hub.endpoint)
    assert "license" not in metadata(published_files(hub, "space", "vlm-demo")["README.md"])


def test_a_base_that_is_local_needs_its_id_for_a_demo(hub: HubAccount, tmp_path: Path) -> None:
    adapter_run(tmp_path / "adapter", str(tmp_path / "base"), None)
    with pytest.raises(UsageError, match="--base-hub-id"):
        publish(hub, tmp_path / "adapter", "vlm", space=True)
    assert ("model", f"{hub.name}/vlm") not in hub.hub.store.repos, "nothing was published"
    publish(hub, tmp_path / "adapter", "vlm", space=True, base_hub_id=BASE)
    app = published_files(hub, "space", "vlm-demo")["app.py"].decode()
    assert f"BASE, REVISION = {BASE!r}, None" in app
    assert str(tmp_path) not in app


def test_somebodys_own_space_is_not_replaced(hub: HubAccount, tmp_path: Path) -> None:
    name = f"{hub.name}/vlm-demo"
    api(hub).create_repo(name, repo_type="space", space_sdk="gradio")
    api(hub).upload_file(path_or_fileobj=b"print()\n", path_in_repo="app.py", repo_id=name, repo_type="space")
    adapter_run(tmp_path / "adapter", BASE, COMMIT)
    with pytest.raises(HubError, match=r"no run of mmpref, such as app\.py"):
        publish(hub, tmp_path / "adapter", "vlm", space=True)
    assert ("model", f"{hub.name}/vlm") not in hub.hub.store.repos
    publish(hub, tmp_path / "adapter", "vlm", space=True, replace=True)
    assert json.loads(published_files(hub, "space", "vlm-demo")["run.json"])["recipe_hash"] == RECIPE_HASH


@pytest.mark.parametrize(("sdk", "file"), [("static", "index.html"), ("docker", "Dockerfile")])
def test_somebodys_space_of_another_kind_is_not_replaced_either(
    hub: HubAccount, tmp_path: Path, sdk: str, file: str
) -> None:
    name, readme = f"{hub.name}/vlm-demo", f"---\nsdk: {sdk}\n---\n\n# My page\n"
    api(hub).create_repo(name, repo_type="space", space_sdk=sdk)
    for path, text in ((file, "mine"), ("README.md", readme)):
        api(hub).upload_file(path_or_fileobj=text.encode(), path_in_repo=path, repo_id=name, repo_type="space")
    adapter_run(tmp_path / "adapter", BASE, COMMIT)
    with pytest.raises(HubError, match=rf"no run of mmpref, such as {file}"):
        publish(hub, tmp_path / "adapter", "vlm", space=True)
    assert ("model", f"{hub.name}/vlm") not in hub.hub.store.repos
    assert published_files(hub, "space", "vlm-demo")["README.md"].decode() == readme
    publish(hub, tmp_path / "adapter", "vlm", space=True, replace=True)
    assert metadata(published_files(hub, "space", "vlm-demo")["README.md"])["sdk"] == "gradio"


def test_a_new_space_takes_the_demo(hub: HubAccount, tmp_path: Path) -> None:
    """As an interrupted run leaves it, with the card that the Hub makes."""
    name, readme = f"{hub.name}/vlm-demo", b"---\nsdk: gradio\n---\n\nSee the reference of the configuration.\n"
    api(hub).create_repo(name, repo_type="space", space_sdk="gradio")
    api(hub).upload_file(path_or_fileobj=readme, path_in_repo="README.md", repo_id=name, repo_type="space")
    adapter_run(tmp_path / "adapter", BASE, COMMIT)
    assert publish(hub, tmp_path / "adapter", "vlm", space=True).space


def test_a_page_that_comes_after_the_check_is_not_replaced_either(hub: HubAccount, tmp_path: Path) -> None:
    name = f"{hub.name}/vlm-demo"
    manifest = adapter_run(tmp_path / "adapter", BASE, COMMIT)
    done = push(hub, tmp_path / "adapter", "vlm")
    api(hub).create_repo(name, repo_type="space", space_sdk="gradio")
    api(hub).upload_file(path_or_fileobj=b"print()\n", path_in_repo="app.py", repo_id=name, repo_type="space")
    where = {"token": hub.token, "endpoint": hub.endpoint}
    with pytest.raises(HubError, match=r"no run of mmpref, such as app\.py"):
        publish_space(tmp_path / "adapter", manifest, done, **where)
    assert publish_space(tmp_path / "adapter", manifest, done, replace=True, **where).changed


@pytest.mark.parametrize(
    ("wanted", "changes", "reason"),
    [
        ({"space": True}, {"command": "evaluate"}, "--space is for adapters"),
        ({"new_version_of": "me/v1"}, {"command": "build-dataset"}, "--new-version-of is for adapters"),
        ({"space": True, "create_pr": True}, {}, "--create-pr"),
        ({"space": True}, {"held_out": {}}, "reward model"),
        ({"space": True}, {"recipe": {"trust_remote_code": True}}, "code of its own"),
    ],
)
def test_what_cannot_be_is_refused_before(wanted: dict[str, Any], changes: dict[str, Any], reason: str) -> None:
    manifest = {"command": "train", "recipe": {}, "model": {"id": BASE, "revision": COMMIT}, **changes}
    target = Target("me/thing", "model", "https://h/me/thing", False, False)
    with pytest.raises(UsageError, match=reason):
        Companions(**wanted).checked(manifest, target)
    if wanted == {"space": True} and not changes:
        with pytest.raises(UsageError, match="--merge"):
            Companions(**wanted, merged=True).checked(manifest, target)


@pytest.mark.parametrize("name", ["me/x'", 'me/x"""\nimport os', "me/{{ 7 }}\\"])
def test_no_name_becomes_code(name: str) -> None:
    app = app_text(name, None, name, COMMIT, {"load_in_4bit": True})
    tree = compile(app, "app.py", "exec", flags=0x400)  # ast.PyCF_ONLY_AST
    imported = {node.names[0].name for node in tree.body if type(node).__name__ == "Import"}
    assert imported == {"gradio", "torch"}


def test_the_options_of_the_command(hub: HubAccount, hub_env: dict[str, str], tmp_path: Path) -> None:
    dataset_run(tmp_path / "pairs")
    words = ["publish", tmp_path / "pairs", "--hub-dataset-id", f"{hub.name}/pairs"]
    refused = bare.mmpref([*words, "--space"], hub_env)
    assert refused.returncode == 2
    assert "--space is for adapters, and this is a run of `build-dataset`" in refused.stderr
    done = bare.mmpref([*words, "--collection", TITLE, "--json"], hub_env)
    assert done.returncode == 0, done.stderr
    assert items(hub, json.loads(done.stdout)["collection"]) == [("dataset", "pairs", "Preference pairs")]
