"""By which of its files a model in a folder is known."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmpref.origins.model_files import folder_files
from mmpref.registry import resolve_path

READ = (
    *("config.json", "generation_config.json", "processor_config.json", "preprocessor_config.json"),
    *("video_preprocessor_config.json", "tokenizer.json", "tokenizer_config.json", "added_tokens.json"),
    *("special_tokens_map.json", "vocab.json", "vocab.txt", "merges.txt", "tokenizer.model", "qwen.tiktoken"),
    *("chat_template.json", "chat_template.jinja", "additional_chat_templates/tools.jinja"),
    *("modeling_own.py", "model.safetensors.index.json"),
)
NOT_READ = ("README.md", "TRAINING.json", "run.json", "training_images.txt", "trainer_state.json", "LICENSE.txt")


@pytest.mark.parametrize("name", [*READ, *NOT_READ, "model.safetensors"])
def test_what_decides_how_a_model_reads_and_answers_is_known(name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    file.write_text("one")
    one = folder_files(str(tmp_path))
    file.write_text("other")
    assert one.keys() == ({name} if name in READ else set())
    assert (folder_files(str(tmp_path)) != one) == (name in READ)


def test_of_the_testbeds_model_all_but_its_card_its_report_and_its_weights() -> None:
    model = "pkg:mmpref.testbed/model"
    left_out = {"README.md", "TRAINING.json", "model.safetensors"}
    assert folder_files(model).keys() == {file.name for file in Path(resolve_path(model)).iterdir()} - left_out


def test_a_model_of_the_hub_or_of_memory_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert folder_files("me/model") == folder_files("memory:1") == {}
