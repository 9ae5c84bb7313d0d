"""An adapter is put on the weights that it was trained on, whatever their folder is called."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import pytest

from mmpref.errors import ModelError
from mmpref.types import ModelRef
from mmpref.vlm.adapters import check_adapter
from mmpref.vlm.base_weights import folder_weights


def folder(path: Path, **files: bytes) -> Path:
    path.mkdir()
    for name, content in files.items():
        (path / f"{name}.safetensors").write_bytes(content)
    return path


def adapter(path: Path, base: Path) -> Path:
    """As a training on the base leaves it."""
    path.mkdir()
    (path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(base), "peft_type": "LORA"}))
    manifest = {"command": "train", "recipe": {}, "model_weights": folder_weights(str(base))}
    (path / "run.json").write_text(json.dumps(manifest))
    return path


def checked(base: Path, trained: Path) -> None:
    check_adapter(ModelRef(str(base), None, str(trained)))


def test_other_weights_under_the_same_name_are_refused(tmp_path: Path) -> None:
    base = folder(tmp_path / "base", model=b"some weights", more=b"others")
    trained = adapter(tmp_path / "adapter", base)
    checked(base, trained)
    (base / "model.safetensors").write_bytes(b"more weights")
    with pytest.raises(ModelError, match=r"was trained on other weights than .*base holds now \(model\.safetensors\)"):
        checked(base, trained)


def test_the_same_weights_under_another_name_are_no_other_base(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    base = folder(tmp_path / "base", model=b"some weights")
    trained = adapter(tmp_path / "adapter", base)
    shutil.copytree(base, tmp_path / "copy")
    with caplog.at_level(logging.WARNING):
        checked(tmp_path / "copy", trained)
        assert not caplog.messages
        checked(folder(tmp_path / "sharded", part=b"some"), trained)
    assert any("was trained on" in message for message in caplog.messages), "files of other names cannot be compared"


def test_an_adapter_of_elsewhere_says_nothing_of_weights(tmp_path: Path) -> None:
    base = folder(tmp_path / "base", model=b"some weights")
    trained = adapter(tmp_path / "adapter", base)
    (trained / "run.json").write_text('["no run of ours"]')
    (base / "model.safetensors").write_bytes(b"more weights")
    checked(base, trained)
