"""Rows come in from every kind of place, and what is not there is named."""

from __future__ import annotations

import gzip
import io
import json
import socket
import threading
import tracemalloc
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from mmpref.errors import InputError, RunError, UsageError
from mmpref.tables.open import open_table, refuse_split
from mmpref.tables.table import Table
from mmpref.testbed.render import SIDE
from tests import bare
from tests.hub_fixtures import HubAccount


def png(colour: str = "red") -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (6, 4), colour).save(content, "PNG")
    return content.getvalue()


ROWS = [{"id": str(i), "question": f"What is {i}?", "answer": "一个点。"} for i in range(5)]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows, indent=1))
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def with_images() -> Any:
    import datasets

    features = datasets.Features(
        {"images": datasets.List(datasets.Image()), "question": datasets.Value("string"), "image": datasets.Image()}
    )
    cell = {"bytes": b"not an image", "path": "broken.png"}
    rows = {"images": [[{"bytes": png(), "path": None}], [cell, cell]], "question": ["a", "b"], "image": [cell, None]}
    return datasets.Dataset.from_dict(rows, features=features)


def test_a_registered_table() -> None:
    table = open_table("testbed", "dev")
    first = next(iter(table))
    assert Image.open(io.BytesIO(first["images"][0]["bytes"])).size == (SIDE, SIDE)
    assert next(iter(table)) == first
    assert table.facts()["licence"] == "apache-2.0"
    assert (table.name, table.root, table.revision) == ("testbed", None, None)
    assert "dev" in table.fingerprint
    with pytest.raises(InputError, match=r"no split 'tran'. Did you mean 'train'"):
        open_table("testbed", "tran")


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl", "rows.ndjson", "rows.parquet"])
def test_a_file(tmp_path: Path, name: str) -> None:
    table = open_table(str(write(tmp_path / name, ROWS)))
    assert list(table) == ROWS
    assert list(table) == ROWS, "a second reading starts anew"
    assert (table.root, table.name) == (tmp_path, name)


def test_the_fingerprint_is_of_the_content(tmp_path: Path) -> None:
    def fingerprint(folder: str, rows: list[dict[str, Any]]) -> str:
        return open_table(str(write(tmp_path / folder / "rows.jsonl", rows))).fingerprint

    assert fingerprint("a", ROWS) == fingerprint("b", ROWS)
    assert fingerprint("a", ROWS) != fingerprint("b", ROWS[1:])


@pytest.mark.parametrize(
    ("files", "split"),
    [
        (["data/dev-00000-of-00002.parquet", "data/dev-00001-of-00002.parquet"], "dev"),
        (["train-0.jsonl", "train-1.jsonl"], "train"),
        (["validation/a.json", "validation/b.json"], "validation"),
        (["val.parquet"], "validation"),
        (["RLHF-V-Dataset.parquet"], "train"),
        (["one.jsonl", "two.jsonl"], "train"),
    ],
)
def test_a_folder(tmp_path: Path, files: list[str], split: str) -> None:
    for index, name in enumerate(files):
        write(tmp_path / name, ROWS[index : index + 1])
    write(tmp_path / "test-00000-of-00001.parquet" if files[0].endswith("parquet") else tmp_path / "test.jsonl", ROWS)
    (tmp_path / "report.json").write_text("{}")
    table = open_table(str(tmp_path), split)
    assert list(table) == ROWS[: len(files)]
    with pytest.raises(InputError, match=rf"has no split 'other'.*({split}|test)"):
        open_table(str(tmp_path), "other")


@pytest.mark.parametrize(
    ("name", "accepted", "refused"),
    [
        ("qa.jsonl", ["train"], ["validation", "test"]),
        ("qa-val.jsonl", ["train", "validation", "val"], ["test", "dev"]),
        ("test/qa.json", ["train", "test"], ["validation"]),
        ("dev-00000-of-00001.parquet", ["train", "dev"], ["test"]),
    ],
)
def test_the_splits_of_a_single_file(tmp_path: Path, name: str, accepted: list[str], refused: list[str]) -> None:
    spec = str(write(tmp_path / "photos" / name, ROWS))
    for split in accepted:
        refuse_split(spec, split)
    for split in refused:
        with pytest.raises(InputError, match=rf"{name} has no split '{split}'.*(There are:|Did you mean)"):
            refuse_split(spec, split)


def test_splits_of_tables_and_folders_are_left_to_their_opening(tmp_path: Path) -> None:
    for spec in ("testbed", str(tmp_path), "me/pairs"):
        refuse_split(spec, "dev")


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_the_run_of_a_command_that_makes_no_data_is_named(tmp_path: Path, command: str) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"command": command, "recipe": {}}))
    (tmp_path / "adapter_config.json").write_text('{\n "r": 16\n}\n')
    with pytest.raises(InputError, match=rf"is a run of `{command}`, not a dataset.*`build-dataset`"):
        open_table(str(tmp_path))


def test_save_to_disk_with_and_without_splits(tmp_path: Path) -> None:
    import datasets

    with_images().save_to_disk(tmp_path / "one")
    datasets.DatasetDict({"train": with_images(), "dev": with_images()}).save_to_disk(tmp_path / "two")
    one, two = open_table(str(tmp_path / "one")), open_table(str(tmp_path / "two"), "dev")
    assert list(one) == list(two)
    first, second = one
    assert first["images"] == [{"bytes": png(), "path": None}]
    assert second["images"][1]["bytes"] == b"not an image", "a broken image stays its row's fault"
    assert second["image"] is None
    with pytest.raises(InputError, match=r"no split 'test'. There are: dev, train"):
        open_table(str(tmp_path / "two"), "test")


def test_of_a_folder_whose_files_say_no_split_one_can_be_named(tmp_path: Path) -> None:
    for name in ("captions_val2014.json", "instances_val2014.json"):
        (tmp_path / name).write_text('[{"image": "a.png", "caption": "A cat."}]')
    with pytest.raises(InputError, match=r"has no split 'test'") as caught:
        open_table(f"{tmp_path}/", "test")
    files = [f"{tmp_path}/captions_val2014.json", f"{tmp_path}/instances_val2014.json"]
    assert caught.value.hint == f"There are: train. Or name one of its files: {', '.join(files)}."
    assert len(list(open_table(files[1], "test"))) == 1
    (tmp_path / "more").mkdir()
    for split in ("train", "dev"):
        (tmp_path / f"more/{split}.json").write_text('[{"image": "a.png", "caption": "A cat."}]')
    with pytest.raises(InputError) as caught:
        open_table(str(tmp_path / "more"), "test")
    assert caught.value.hint == "There are: train, validation."


def test_an_image_folder_and_its_configurations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    # The library's cache folder: read at import, so set where it is looked up.
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "photos"
    (folder / "train").mkdir(parents=True)
    (folder / "train/a.png").write_bytes(png())
    (folder / "train/metadata.jsonl").write_text('{"file_name": "a.png", "question": "What?", "answer": "Red."}\n')
    [row] = open_table(str(folder))
    assert row["image"]["bytes"] == png()
    assert row["question"] == "What?"

    several = tmp_path / "several"
    for name in ("a", "b"):
        write(several / name / "train.jsonl", [{"question": name}])
    configs = "".join(f"- config_name: {name}\n  data_files: {name}/train.jsonl\n" for name in "ab")
    (several / "README.md").write_text(f"---\nlicense: mit\nconfigs:\n{configs}---\n")
    assert list(open_table(str(several), config="b")) == [{"question": "b"}]
    with pytest.raises(InputError, match=r"Config name is missing.*'a', 'b'"):
        open_table(str(several))
    with pytest.raises(InputError, match=r"'c' not found. Available: \['a', 'b'\]"):
        open_table(str(several), config="c")


def test_a_dataset_cannot_make_us_read_other_files(tmp_path: Path) -> None:
    import datasets

    from mmpref.tables._datasets import undecoded

    secret = tmp_path / "secret.png"
    secret.write_bytes(png())
    features = datasets.Features({"image": datasets.Image()})
    loaded = datasets.Dataset.from_dict({"image": [{"bytes": None, "path": str(secret)}]}, features=features)
    assert next(undecoded(loaded, [tmp_path / "elsewhere"]))["image"]["bytes"] is None
    assert next(undecoded(loaded, [tmp_path]))["image"]["bytes"] == png()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"a": 1}\n\n{"a": \n', r"rows.jsonl, line 3 is not JSON"),
        ('{"a": 1}\n[1]\n', r"rows.jsonl, line 2 is a list, not a row"),
        ('[{"a": 1},\n {"a" 2}]', r"rows.jsonl, line 2 \(row 1\) is not JSON"),
        ('[{"a": 1},\n {"a": 2}', r"rows.jsonl, line 2 \(row 2\) is not JSON: the array is cut off"),
        ('[{"a": 1}\n {"a": 2}]', r"line 2 \(row 1\) is not JSON: found '\{'"),
        ('[{"a": 1}, 3]', r"rows.jsonl, row 1 is a int, not a row"),
        ('[{"a": 1}]\nmore', r"text after the end of the array"),
        ("[" * 100_000, r"not JSON"),
        ('{"a": ' + "[" * 100_000, r"line 1 is not JSON"),
        ('{\n "a": 1\n}\n', r"rows.jsonl is one JSON object over several lines, not rows\. A file holds"),
        ('{\n "a": \n}\n', r"line 1 is not JSON"),
    ],
)
def test_broken_json_is_named_by_its_line(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(content)
    with pytest.raises(InputError, match=message):
        list(open_table(str(file)))


@pytest.mark.parametrize("held", [1, 2, 7, 1 << 20])
def test_a_json_array_is_read_piece_by_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: int) -> None:
    """Whatever the pieces are cut through, rows and the lines in errors are the same."""
    monkeypatch.setattr("mmpref.tables._files._BUFFER", held)
    rows = [{"a": "\u00e9]},[{" * n, "b": [n, None, {"c": 1.5}]} for n in range(9)]
    content = " [\n" + ",\n\n".join(json.dumps(row, ensure_ascii=bool(row["b"][0])) for row in rows)
    file = tmp_path / "rows.json"
    file.write_text(f"{content}\n]\n ", encoding="utf-8")
    assert list(open_table(str(file))) == rows
    file.write_text(f'{content},\n{{"a": "b" 3}}]', encoding="utf-8")
    with pytest.raises(InputError, match=r"line 19 \(row 9\) is not JSON: Expecting ',' delimiter"):
        list(open_table(str(file)))
    file.write_text(f"{content},\n{{", encoding="utf-8")
    with pytest.raises(InputError, match=r"line 19 \(row 9\) is not JSON: Expecting property name"):
        list(open_table(str(file)))
    file.write_text("[]", encoding="utf-8")
    assert list(open_table(str(file))) == []


@pytest.mark.parametrize("missing", ["", "NaN"])
def test_what_pandas_lacks_is_missing_in_its_csv(tmp_path: Path, missing: str) -> None:
    file = tmp_path / "rows.csv"
    pd.DataFrame({"a": ["x", None], "b": [float("nan"), 1]}).to_csv(file, na_rep=missing)
    assert list(open_table(str(file))) == [{"a": "x", "b": None}, {"a": None, "b": "1.0"}]


def test_a_json_array_is_not_held_in_memory(tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    row = json.dumps({"a": "x" * 1000})
    file.write_text("[" + ",\n".join([row] * 20_000) + "]", encoding="utf-8")
    table = open_table(str(file))
    tracemalloc.start()
    try:
        assert sum(1 for _ in table) == 20_000
        assert tracemalloc.get_traced_memory()[1] < 6_000_000
    finally:
        tracemalloc.stop()


def test_other_broken_files(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 but not really PAR1")
    (tmp_path / "b.jsonl").write_bytes(b'{"a": "\xff\xfe"}\n')
    (tmp_path / "c.jsonl").write_bytes("\ufeff".encode() + b'{"a": 1}\n')
    (tmp_path / "d.jsonl").write_text(" \n")
    with pytest.raises(InputError, match=r"a.parquet cannot be read as Parquet"):
        list(open_table(str(tmp_path / "a.parquet")))
    with pytest.raises(InputError, match=r"b.jsonl is not UTF-8"):
        list(open_table(str(tmp_path / "b.jsonl")))
    assert list(open_table(str(tmp_path / "c.jsonl"))) == [{"a": 1}]
    assert list(open_table(str(tmp_path / "d.jsonl"))) == []


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.csv", 'id,question,answer\r\n0,"What, then?","two\nlines"\r\n1,So?,\r\n'),
        ("rows.tsv", 'id\tquestion\tanswer\n0\tWhat, then?\t"two\nlines"\n1\tSo?\t\n'),
        ("rows.csv", ',id,question,answer\n7,0,"What, then?","two\nlines"\n8,1,So?,\n'),
        ("rows.csv", 'id;question;answer\n0;"What, then?";"two\nlines"\n1;So?;\n'),
        ("rows.csv.gz", 'id,question,answer\n0,"What, then?","two\nlines"\n\n1,So?,""\n'),
        (
            "train.jsonl.gz",
            '{"id": "0", "question": "What, then?", "answer": "two\\nlines"}\n'
            '{"id": "1", "question": "So?", "answer": null}\n',
        ),
        (
            "rows.json.gz",
            '[{"id": "0", "question": "What, then?", "answer": "two\\nlines"},'
            '{"id": "1", "question": "So?", "answer": null}]',
        ),
    ],
)
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_csv_and_packed_files(tmp_path: Path, name: str, content: str, mark: str) -> None:
    encoded = (mark + content).encode()
    (tmp_path / name).write_bytes(gzip.compress(encoded) if name.endswith(".gz") else encoded)
    rows = [
        {"id": "0", "question": "What, then?", "answer": "two\nlines"},
        {"id": "1", "question": "So?", "answer": None},
    ]
    assert list(open_table(str(tmp_path / name))) == rows
    assert list(open_table(str(tmp_path))) == rows


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"a,b\n1,2\n1,2,3\n", r"a.csv, line 3 has 3 cells; the header has 2"),
        ("a.csv", b"a,a\n1,2\n", r"a.csv has two columns 'a'"),
        ("a.csv", b'a,b\n"1"x,2\n', r"a.csv, line 2 is not CSV"),
        ("a.csv", b"a,b\n\xff,2\n", r"a.csv is not UTF-8"),
        ("a.jsonl.gz", b"no gzip", r"a.jsonl.gz cannot be read: Not a gzipped file"),
        (
            "a.jsonl.gz",
            gzip.compress(b'{"a": 1}\n' * 2000, mtime=0)[:-12],
            r"a.jsonl.gz cannot be read: .*end-of-stream",
        ),
        ("a.jsonl", b'{"a": "\xff"}', r"a.jsonl is not UTF-8"),
    ],
)
def test_broken_csv_and_packed_files(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        list(open_table(str(tmp_path / name)))


def test_a_folder_of_several_formats_is_not_read_in_part(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a\n1\n")
    write(tmp_path / "b.jsonl", ROWS)
    with pytest.raises(InputError, match=r"several formats, such as a.csv, b.jsonl. Name one file"):
        open_table(str(tmp_path))


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "empty").mkdir()
    (tmp_path / "run/.mmpref").mkdir(parents=True)
    for spec, kind, message in (
        (str(tmp_path / "none.jsonl"), InputError, "no file or folder"),
        ("./none", InputError, "no file or folder"),
        ("none.parquet", InputError, "no file or folder"),
        (str(tmp_path / "notes.txt"), InputError, r"no data file.*\.jsonl"),
        (str(tmp_path / "empty"), InputError, "empty folder"),
        (str(tmp_path / "run"), RunError, "unfinished run"),
        ("pkg:mmpref.nothing/x", UsageError, "names nothing"),
    ):
        with pytest.raises(kind, match=message):
            open_table(spec)


def test_tables_of_memory_still_work() -> None:
    assert list(Table("rows", "train", None, "1", None, lambda: iter(ROWS))) == ROWS


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
        (repo, "train", None, "nowhere"),
        (f"{hub.name}/none", None, None, None),
        ("a b/c", None, None, None),
    ]
    newest, old, split, config, revision, missing, odd = hub_lines(asked, hub_env)
    assert (newest[0]["revision"], newest[1:3]) == (second.commit, [3, "r0"])
    assert newest[0]["licence"] == "mit"
    assert (old[0]["revision"], old[1]) == (first.commit, 6)
    assert old[3] == len(png())
    assert split[0] == config[0] == revision[0] == missing[0] == odd[0] == "InputError"
    assert "train" in split[1]
    assert "default" in config[1]
    assert "no revision 'nowhere'" in revision[1]
    assert hub.endpoint in missing[1]


def test_a_hub_that_does_not_answer_is_named(hub_env: dict[str, str]) -> None:
    for changes in ({"HF_ENDPOINT": "http://127.0.0.1:9"}, {"HF_HUB_OFFLINE": "1"}):
        env = {**hub_env, **changes}
        [[kind, message]] = hub_lines([("me/pairs", None, None, None)], env)
        assert kind == "HubError"
        assert env["HF_ENDPOINT"] in message
        assert "\n" not in message
        assert "mmpref's own tables are: testbed" in message


def hub_lines(asked: list[tuple[str | None, ...]], env: dict[str, str]) -> list[list[Any]]:
    done = bare.python(HUB, json.dumps(asked), environment=env)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_folder_with_configurations_is_read_anew_when_a_file_changes(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(
        "---\nconfigs:\n- config_name: a\n  data_files: a.jsonl\n- config_name: b\n  data_files: b.jsonl\n---\n"
    )
    for text in ("one", "two"):
        for name in ("a", "b"):
            (tmp_path / f"{name}.jsonl").write_text(f'{{"text": "{text} {name}"}}\n')
        assert [row["text"] for row in open_table(str(tmp_path), config="b")] == [f"{text} b"]


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


def _said(code: str, asked: list[tuple[str, str | None]], env: dict[str, str]) -> list[list[Any]]:
    done = bare.python(code, json.dumps(asked), environment=env)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


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
    online = _said(OFFLINE, asked, hub_env)
    assert [(one[0], one[1], len(one[2])) for one in online] == [
        (new, "mit", 3),
        (old, "mit", 2),
        (new, "mit", 3),
        (new, "mit", 2),
    ]
    for changes in ({"HF_HUB_OFFLINE": "1"}, FAR):
        there = [(spec.replace(hub.endpoint, "https://huggingface.co"), at) for spec, at in asked]
        assert _said(OFFLINE, there, hub_env | changes) == online


def test_a_hub_that_gave_no_answer_is_not_asked_again(
    hub_env: dict[str, str], two_commits: tuple[str, list[str]]
) -> None:
    repo, (old, new) = two_commits
    online = _said(OFFLINE, [(repo, None), (repo, old)], hub_env)
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
        assert _said(OFFLINE, [(repo, None), (repo, old)], away) == online
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
    for revision, licence, ids, _ in _said(OFFLINE, [(repo, None), (repo, "main"), (repo, new)], offline):
        assert (revision, licence, sorted(ids)) == (new, "mit", ["r0", "r1", "r2"])
    [snapshot] = (Path(hub_env["HF_HOME"]) / "hub").glob("datasets--*/snapshots/*")
    (snapshot / "data/train-00001-of-00002.parquet").unlink()
    empty = offline | {"HF_DATASETS_CACHE": str(snapshot.parents[3] / "empty")}
    [[kind, message]] = _said(OFFLINE, [(repo, None)], empty)
    assert kind == "HubError"
    assert "data/train-00001-of-00002.parquet" in message


def test_another_commit_is_not_read_in_its_place(hub_env: dict[str, str], two_commits: tuple[str, list[str]]) -> None:
    """The datasets library would: it takes the newest that it has where a download fails."""
    repo, (old, new) = two_commits
    _said(OFFLINE, [(repo, old)], hub_env)
    asked = [(repo, new), (repo, None), (f"hf://datasets/{repo}/data/train-00000-of-00002.parquet", None)]
    for kind, message in _said(OFFLINE, asked, hub_env | {"HF_HUB_OFFLINE": "1"}):
        assert kind == "HubError", message


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
