"""Publishing beside data that are there: after a push both load by plain ``datasets``, or nothing was pushed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi

from mmpref.errors import HubError
from mmpref.hub.publish_run import publish_run
from mmpref.hub.published import Published
from mmpref.licence import metadata_of
from tests import bare
from tests.hub.runs import dataset_run
from tests.hub_fixtures import HubAccount

Upload = Callable[..., None]
LOADED = """
import json, sys, datasets
out = []
for config, split in json.loads(sys.argv[2]):
    try:
        rows = datasets.load_dataset(sys.argv[1], config, split=split)
        out.append([len(rows), sorted(rows.features)])
    except Exception as error:
        out.append([type(error).__name__, str(error)[:300]])
print(json.dumps(out))
"""


def loaded(hub: HubAccount, env: dict[str, str], *asked: tuple[str | None, str]) -> list[Any]:
    """Rows and columns of splits of the repository, as plain ``datasets`` loads them."""
    done = bare.python(LOADED, f"{hub.name}/set", json.dumps(asked), environment=env)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def upload(hub: HubAccount, tmp_path: Path) -> Upload:
    """Put files of another program into the repository; tables become Parquet."""
    api = HfApi(endpoint=hub.endpoint, token=hub.token)
    api.create_repo(f"{hub.name}/set", repo_type="dataset")

    def put(**files: Any) -> None:
        import datasets

        folder = tmp_path / "foreign"
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, str):
                path.write_text(content)
            else:
                datasets.Dataset.from_dict(content).to_parquet(path)
        api.upload_folder(repo_id=f"{hub.name}/set", repo_type="dataset", folder_path=folder)

    return put


def push(hub: HubAccount, run: Path, replace: bool = False) -> Published:
    return publish_run(run, f"{hub.name}/set", token=hub.token, endpoint=hub.endpoint, replace=replace)


def tree(hub: HubAccount) -> dict[str, Any]:
    return dict(hub.hub.tree("dataset", f"{hub.name}/set"))


def card(*entries: str, flow: str = "default") -> str:
    return (
        f"---\nconfigs:\n- config_name: {flow}\n  data_files:\n" + "".join(f"  - {one}\n" for one in entries) + "---\n"
    )


TEST = "data/test-00000-of-00001.parquet"
TRAIN = "data/train-00000-of-00001.parquet"
BOTH = card("{split: train, path: data/train-*}", "{split: test, path: data/test-*}")
WORDS = {"text": ["a", "b"]}


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"README.md": BOTH, TRAIN: WORDS, TEST: WORDS}, "did not publish"),
        ({"README.md": card("{split: test, path: data/test-*}"), TEST: WORDS}, "other columns.*text"),
        ({TEST: WORDS}, "does not name"),
        ({"README.md": "# No metadata\n", "test.csv": "a\n1\n"}, "does not name"),
        ({"README.md": card("{split: test, path: test.jsonl}"), "test.jsonl": '{"a": 1}\n'}, "one format"),
        ({"README.md": card("{split: test, path: mine/*}", flow="mine"), "mine/test.csv": "a\n1\n"}, "one format"),
        ({"README.md": card("{split: all, path: data/*.parquet}"), TEST: WORDS}, "no longer load"),
        ({"README.md": card("{split: test, path: data/*}", flow="mine"), TEST: WORDS}, "no longer load"),
        (
            {"README.md": card("{split: test, path: mine/*}", flow="mine"), "mine/test.parquet": WORDS},
            "where none is named",
        ),
        ({"README.md": card("test.csv"), "test.csv": "a\n1\n"}, "no longer load"),
    ],
)
def test_a_push_that_would_break_what_is_there_is_refused(
    hub: HubAccount, upload: Upload, tmp_path: Path, files: dict[str, Any], said: str
) -> None:
    upload(**files)
    before = tree(hub)
    dataset_run(tmp_path / "run")
    with pytest.raises(HubError, match=said):
        push(hub, tmp_path / "run")
    assert tree(hub) == before


def test_data_that_can_stay_beside_ours_load_as_before(
    hub: HubAccount, upload: Upload, tmp_path: Path, hub_env: dict[str, str]
) -> None:
    two = "- config_name: one\n  data_files: one/*\n- config_name: two\n  data_files: [{split: test, path: [two/*]}]\n"
    upload(**{"README.md": f"---\nconfigs:\n{two}---\n", "one/a.parquet": WORDS, "two/b.parquet": {"b": [1, 2, 3]}})
    dataset_run(tmp_path / "run")
    push(hub, tmp_path / "run")
    assert not push(hub, tmp_path / "run").changed
    one, second, ours = loaded(hub, hub_env, ("one", "train"), ("two", "test"), (None, "train"))
    assert (one, second) == ([2, ["text"]], [3, ["b"]])
    assert ours[0] == 3
    assert "rejected" in ours[1]


def test_an_own_split_of_other_columns_is_refused_and_one_of_the_same_is_not(
    hub: HubAccount, tmp_path: Path, hub_env: dict[str, str]
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    for split in ("train", "test"):
        dataset_run(tmp_path / split, split)
    push(hub, tmp_path / "train")
    file = tmp_path / "test/data/test-00000-of-00001.parquet"
    as_made, rows = file.read_bytes(), pq.read_table(file)
    pq.write_table(rows.append_column("margin", pa.array([1.0] * len(rows))).replace_schema_metadata(None), file)
    before = tree(hub)
    with pytest.raises(HubError, match="the split train of the configuration default has other columns"):
        push(hub, tmp_path / "test")
    assert tree(hub) == before
    file.write_bytes(as_made)
    push(hub, tmp_path / "test")
    assert [rows for rows, _ in loaded(hub, hub_env, (None, "train"), (None, "test"))] == [3, 3]


def test_the_licences_of_both_stand_in_the_card(hub: HubAccount, tmp_path: Path) -> None:
    for split, licence in (("train", "mit"), ("test", "cc-by-4.0"), ("train", "mit")):
        source = {"id": "me/set", "split": "train", "revision": None, "fingerprint": "x", "licence": licence}
        if not (tmp_path / split).exists():
            dataset_run(tmp_path / split, split, source=source)
        push(hub, tmp_path / split)
    stated = metadata_of(hub.hub.read("dataset", f"{hub.name}/set", "README.md").decode())
    assert (stated or {})["license"] == ["mit", "cc-by-4.0"]
    assert not push(hub, tmp_path / "train").changed


def test_a_new_build_of_a_split_replaces_the_old_one(hub: HubAccount, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    dataset_run(tmp_path / "run")
    push(hub, tmp_path / "run")
    file = tmp_path / "run" / TRAIN
    pq.write_table(pq.read_table(file).drop_columns(["seed"]).slice(0, 2), file)
    assert push(hub, tmp_path / "run", replace=True).changed
