"""Models and adapters of strangers: no code of theirs runs, and what is wrong with them is said."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from mmpref.api.settings import settings
from mmpref.errors import ModelError
from mmpref.types import ModelRef
from mmpref.vlm.load import identify, load_policy

MODEL = Path(__file__).parents[2] / "mmpref" / "testbed" / "model"


class Payload:
    """What a pickle does when it is read as such: here it makes a folder."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self._mark),)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    shutil.copytree(MODEL, tmp_path / "model")
    return tmp_path / "model"


def change(file: Path, **values: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def test_a_pickle_of_weights_runs_no_code(model: Path, tmp_path: Path) -> None:
    (model / "model.safetensors").unlink()
    torch.save({"a": Payload(tmp_path / "owned")}, model / "pytorch_model.bin")
    with pytest.raises(ModelError, match="a pickle that holds more than numbers") as told:
        load_policy(ModelRef(str(model)))
    assert "safetensors" in told.value.hint
    assert "weights_only" not in str(told.value), "PyTorch's advice is to let the code run"
    assert not (tmp_path / "owned").exists()
    torch.load(model / "pytorch_model.bin", weights_only=False)
    assert (tmp_path / "owned").exists(), "it would have"


def test_a_pickle_of_an_adapter_runs_no_code(tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    config = {"peft_type": "LORA", "r": 2, "target_modules": ["q_proj"], "base_model_name_or_path": str(MODEL)}
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    torch.save({"a": Payload(tmp_path / "owned")}, adapter / "adapter_model.bin")
    with pytest.raises(ModelError, match="a pickle that holds more than numbers"):
        load_policy(ModelRef(str(MODEL), None, str(adapter)))
    assert not (tmp_path / "owned").exists()


def with_code(model: Path, code: str) -> None:
    """Have a model come with code for all of its classes."""
    (model / "code.py").write_text(code)
    change(model / "config.json", auto_map={"AutoConfig": "code.Config", "AutoModelForImageTextToText": "code.Model"})
    for file in ("tokenizer_config.json", "processor_config.json"):
        change(model / file, auto_map={"AutoProcessor": "code.P", "AutoTokenizer": ["code.T", "code.T"]})


@pytest.mark.parametrize("kind", ["new", "known"])
def test_code_that_comes_with_a_model_is_not_run(model: Path, tmp_path: Path, kind: str) -> None:
    """One that needs it is refused, for that reason; one of a family that is known here loads without it."""
    with_code(model, f"import os\nos.mkdir({str(tmp_path / 'owned')!r})\n")
    if kind == "new":
        change(model / "config.json", model_type="new")
        with pytest.raises(ModelError, match="classes of its own") as told:
            identify(ModelRef(str(model)))
        assert "-hf" in told.value.hint
        assert "trust" not in str(told.value), "it would not help"
    else:
        assert load_policy(ModelRef(str(model))).family.model_type == "llava_next"
    assert not (tmp_path / "owned").exists()


CONFIG = """
from transformers import PretrainedConfig
class Config(PretrainedConfig):
    model_type = {!r}
"""


@pytest.mark.parametrize(("kind", "hint"), [("internvl_chat", "-hf"), ("llava_next", "trust_remote_code=false")])
def test_classes_that_come_with_a_model_are_not_used_where_its_code_is_trusted(
    model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str, hint: str
) -> None:
    """Of a model that takes images it is not said that it takes none."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    with_code(model, CONFIG.format(kind))
    change(model / "config.json", model_type=kind)
    with pytest.raises(ModelError, match="classes of its own") as told:
        identify(ModelRef(str(model)), trust_remote_code=True)
    assert hint in told.value.hint


def test_code_that_a_processor_needs_is_allowed_by_a_setting_that_there_is(model: Path) -> None:
    (model / "code.py").write_text("class P: pass")
    change(model / "processor_config.json", auto_map={"AutoProcessor": "code.P"}, processor_class="P")
    with pytest.raises(ModelError, match="code of its own") as told:
        load_policy(ModelRef(str(model)))
    assert "trust_remote_code=True" not in str(told.value), "transformers' own advice is to let the code run"
    for command in ("build-dataset", "train", "evaluate"):
        assert "trust_remote_code" in {setting.key for setting in settings(command)}
        assert command in told.value.hint
    assert "--set trust_remote_code=true" in told.value.hint


def test_models_of_other_tasks_are_not_said_to_take_no_images(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "clip"}')
    with pytest.raises(ModelError, match="writes no text about images"):
        identify(ModelRef(str(tmp_path)))


def test_a_folder_that_is_no_model_is_not_called_an_adapter_that_lacks_a_file(model: Path) -> None:
    change(model / "config.json", model_type="new")
    with pytest.raises(ModelError, match="model type `new`") as told:
        identify(ModelRef(str(model)))
    assert "adapter_config.json" not in str(told.value)
