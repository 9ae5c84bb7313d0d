"""What an adapter was trained on is known along all trainings, or it is said of which one it is not."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from mmpref.origins.earlier_data import data_of_adapter, earlier_data


def table(name: str, licence: str | None = "mit") -> dict[str, Any]:
    return {"id": name, "split": "train", "revision": None, "fingerprint": f"sha256:{name}", "licence": licence}


def adapter(path: Path, **manifest: Any) -> dict[str, Any]:
    """One in a folder, with a manifest where one is given; its facts."""
    path.mkdir()
    (path / "adapter_model.safetensors").write_bytes(path.name.encode())
    if manifest:
        (path / "run.json").write_text(json.dumps({"command": "train", **manifest}))
    return {"id": str(path), "revision": None, "weights": hashlib.sha256(path.name.encode()).hexdigest()}


def test_data_of_all_trainings_are_there_once(tmp_path: Path) -> None:
    """Where the second is of before, and does not say what the first was trained on."""
    first = adapter(tmp_path / "first", datasets=[table("a"), table("b")])
    second = adapter(tmp_path / "second", datasets=[table("b"), table("c")], began=first)
    assert data_of_adapter(second) == [table("a"), table("b"), table("c")]
    third = adapter(tmp_path / "third", datasets=[table("d")], began=second, earlier_datasets=[table("a")])
    assert data_of_adapter(third) == [table("a"), table("d")], "what a run says holds"
    assert earlier_data({"command": "train"}) == []


def test_an_adapter_that_does_not_tell_stands_for_its_data(tmp_path: Path) -> None:
    first = adapter(tmp_path / "first")
    (tmp_path / "first/README.md").write_text("---\nlicense: cc-by-nd-4.0\n---\n")
    untold = {"id": first["id"], "revision": None, "fingerprint": first["weights"], "adapter": True}
    assert data_of_adapter(first) == [{**untold, "licence": "cc-by-nd-4.0"}]
    second = adapter(tmp_path / "second", datasets=[table("b")], began=first)
    assert data_of_adapter(second) == [{**untold, "licence": "cc-by-nd-4.0"}, table("b")]


@pytest.mark.parametrize(
    "manifest",
    [
        {"datasets": None},
        {"datasets": [{"id": 1}]},
        {"datasets": [table("a", licence={})]},  # type: ignore[arg-type]
        {"datasets": [], "earlier_datasets": ["a"]},
        {"datasets": [], "began": {"id": "x"}},
        {"command": "build-dataset", "datasets": []},
    ],
)
def test_what_is_no_record_of_a_training_tells_nothing(tmp_path: Path, manifest: dict[str, Any]) -> None:
    [entry] = data_of_adapter(adapter(tmp_path / "first", **manifest))
    assert entry["adapter"]


def test_a_first_adapter_that_was_of_another_machine_tells_nothing(tmp_path: Path) -> None:
    began = {"id": "/path/to/first", "revision": None, "weights": "0"}
    [entry, own] = data_of_adapter(adapter(tmp_path / "second", datasets=[table("b")], began=began))
    assert (entry["id"], entry["licence"], own) == ("/path/to/first", None, table("b"))


def test_another_adapter_in_its_place_tells_nothing(tmp_path: Path) -> None:
    first = adapter(tmp_path / "first", datasets=[table("a")])
    [entry] = earlier_data({"began": {**first, "weights": "0"}})
    assert entry["adapter"]
    assert entry["fingerprint"] == "0"
