"""What a folder holds beside what one would think of is said before any of it is sent."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmpref.hub.publish_run import write_run
from mmpref.run.training_images import write_training_images
from tests.hub.pushed import pairs_run, published_files, push
from tests.hub.runs import COMMIT, adapter_run, evaluation_run
from tests.hub_fixtures import HubAccount
from tests.test_image_metadata import photo

BASE = "llava-hf/llava-v1.6-vicuna-7b-hf"


def test_what_goes_along_is_said_before_anything_is_sent(
    hub: HubAccount, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    adapter = tmp_path / "adapter"
    adapter_run(adapter, BASE, COMMIT)
    write_training_images(adapter, ["0" * 16, "1" * 16])
    push(hub, adapter)
    said = caplog.text
    assert "training_images.txt goes along, with digests of the 2 images" in said
    assert said.index("training_images.txt") < said.index("Publishing")
    files = published_files(hub, "model")
    assert "`training_images.txt` beside this card holds digests" in files["README.md"].decode()

    (adapter / "training_images.txt").unlink()
    caplog.clear()
    push(hub, adapter, "other")
    assert "training_images" not in caplog.text + published_files(hub, "model", "other")["README.md"].decode()


def test_what_training_did_not_write_stays_and_is_named(
    hub: HubAccount, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    adapter = tmp_path / "adapter"
    manifest = adapter_run(adapter, BASE, COMMIT)
    evaluation_run(adapter / "eval")
    own = {"NOTICE", "additional_chat_templates/tools.jinja", "checkpoints/checkpoint-2/adapter_model.safetensors"}
    for name in (*own, "eval.html", "modeling_vlm.py", "train.log"):
        (adapter / name).parent.mkdir(parents=True, exist_ok=True)
        (adapter / name).write_text(f"of {tmp_path}/client")
    push(hub, adapter)
    assert "training did not write eval/, eval.html, modeling_vlm.py, train.log in" in caplog.text
    files = published_files(hub, "model")
    written = {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    told = {"README.md", "run.json", "log.jsonl", "training.png"}
    assert files.keys() - {".gitattributes"} == written | told | own

    manifest["recipe"]["trust_remote_code"] = True
    (adapter / "run.json").write_text(json.dumps(manifest))
    push(hub, adapter)
    assert "modeling_vlm.py" in published_files(hub, "model"), "the model's own code is a part of it"


def test_where_images_were_taken_is_said_before_anything_is_sent(
    hub: HubAccount, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    dataset = pairs_run(tmp_path)
    push(hub, dataset)
    assert "GPS" not in caplog.text
    file = next((dataset / "data").glob("*.parquet"))
    table = pq.read_table(file)
    images = table["images"].to_pylist()
    images[1][0]["bytes"] = photo("JPEG")
    column = table.schema.get_field_index("images")
    pq.write_table(table.set_column(column, table.schema.field(column), pa.array(images, table["images"].type)), file)
    told = "1 of 4 images say where they were taken (GPS)"
    for publish in (lambda: push(hub, dataset, "other"), lambda: write_run(dataset, "me/pairs", tmp_path / "staged")):
        caplog.clear()
        publish()
        assert told in caplog.text
        assert "--strip-metadata" in caplog.text
        assert caplog.text.index("GPS") < (caplog.text + "Publishing").index("Publishing")


@pytest.mark.parametrize(
    ("row_id", "told"),
    [
        ("/home/ann/photos/cat.jpg", True),
        ("C:\\photos\\cat.jpg", True),
        ("//share/photos/cat.jpg", True),
        ("/data/cat.jpg", True),
        ("~/photos/cat.jpg", True),
        ("file:///home/ann/cat.jpg", True),
        ("/m/01g317", False),
        ("/m/01g317/0", False),
        ("photos/2024/01/cat.jpg", False),
        ("a:17", False),
        ("train-00001", False),
    ],
)
def test_ids_of_rows_that_are_paths_are_said_before_anything_is_sent(
    row_id: str, told: bool, hub: HubAccount, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dataset = pairs_run(tmp_path)
    file = next((dataset / "data").glob("*.parquet"))
    table = pq.read_table(file)
    ids = pa.array([row_id, *table["id"].to_pylist()[1:]])
    pq.write_table(table.set_column(table.schema.get_field_index("id"), "id", ids), file)
    caplog.clear()
    write_run(dataset, "me/pairs", tmp_path / "staged")
    assert (f"the ids of 1 row look like paths of a machine, as {row_id} does" in caplog.text) == told
    assert ("paths of a machine" in caplog.text) == told
