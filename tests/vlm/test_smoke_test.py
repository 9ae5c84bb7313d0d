"""What is wrong with a model is told when it is loaded, and mended where the model itself says how."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers.processors import TemplateProcessing

from mmpref.errors import ModelError
from mmpref.registry import resolve_path
from mmpref.testbed.training.build import PATCH
from mmpref.types import Message, ModelRef
from mmpref.vlm.decoding import Decoding
from mmpref.vlm.generate import Request, generate
from mmpref.vlm.load import load_policy
from mmpref.vlm.policy import Policy
from mmpref.vlm.smoke_test import picture, run_smoke_test
from tests.vlm.tiny import BUILDERS, parts, tiny, tokenizer

MODEL = "pkg:mmpref.testbed/model"
REFUSED = "gemma4_per_layer"
"""By what its decoder is given, whatever its processor."""
OTHER_MARK = (
    "{% for message in messages %}{{ message.role }}: {% for part in message.content %}{% if part.type == 'image' %}"
    "<picture>{% else %}{{ part.text }}{% endif %}{% endfor %}{% endfor %}"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    copy = Path(shutil.copytree(resolve_path(MODEL), tmp_path / "model"))
    for file in (copy, *copy.iterdir()):
        file.chmod(0o755)
    return copy


def edit(file: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def answers(policy: Policy) -> list[str]:
    return generate(policy, [Request((Message("user", "Describe the image."),), (picture(),))], Decoding(12))


@pytest.mark.parametrize("name", sorted(BUILDERS.keys() - {REFUSED}))
def test_what_fits_is_left_alone(name: str) -> None:
    policy = tiny(name)
    before = policy.processor.chat_template
    run_smoke_test(policy)
    assert policy.mended == {}
    assert policy.processor.chat_template == before


@pytest.mark.parametrize(
    "name",
    [
        "patch_size vision_feature_select_strategy num_additional_image_tokens",
        "num_additional_image_tokens",
        "vision_feature_select_strategy",
    ],
)
def test_a_processor_of_before_4_46_is_mended(folder: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    edit(folder / "processor_config.json", lambda content: [content.pop(key) for key in name.split()])
    with caplog.at_level(logging.WARNING, "mmpref"):
        policy = load_policy(ModelRef(str(folder)))
    whole = {"patch_size": PATCH, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}
    assert policy.mended == {key: whole[key] for key in name.split()}
    [said] = [record.getMessage() for record in caplog.records if "does not fit its model" in record.getMessage()]
    assert all(f"{key} {whole[key]}" in said for key in name.split())
    assert answers(policy) == answers(load_policy(ModelRef(MODEL)))


@pytest.mark.parametrize(
    ("name", "wrong", "right"),
    [
        ("llava", {"patch_size": 8}, {"patch_size": 4}),
        ("llava", {"vision_feature_select_strategy": "full"}, {"vision_feature_select_strategy": "default"}),
        (
            "llava_next",
            {"patch_size": 14, "num_additional_image_tokens": 0},
            {"patch_size": 4, "num_additional_image_tokens": 1},
        ),
        (
            "llava_onevision",
            {"num_image_tokens": None, "vision_feature_select_strategy": None},
            {"num_image_tokens": 16, "vision_feature_select_strategy": "full"},
        ),
        ("mistral3", {"spatial_merge_size": 1}, {"spatial_merge_size": 2}),
        ("internvl", {"image_seq_length": 256}, {"image_seq_length": 4}),
    ],
)
def test_what_the_model_knows_better_is_mended(name: str, wrong: dict[str, Any], right: dict[str, Any]) -> None:
    policy = tiny(name)
    for attribute, value in wrong.items():
        setattr(policy.processor, attribute, value)
    run_smoke_test(policy)
    assert policy.mended == right


def attribute(**values: Any) -> Callable[[Policy], None]:
    return lambda policy: [setattr(policy.processor, name, value) for name, value in values.items()] and None


def another_tokenizer(policy: Policy) -> None:
    policy.tokenizer = policy.processor.tokenizer = tokenizer()


def more_words(policy: Policy) -> None:
    policy.tokenizer.add_tokens(["What", "does"])


def no_numbers(policy: Policy) -> None:
    with torch.no_grad():
        next(policy.base_model.model.multi_modal_projector.parameters()).fill_(float("nan"))


def other_pictures(policy: Policy) -> None:
    policy.processor.image_processor.crop_size = {"height": 32, "width": 32}


def no_pictures(policy: Policy) -> None:
    policy.processor.image_processor = None


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (attribute(chat_template=OTHER_MARK), "chat template of tiny writes no <image> where a picture stands"),
        (another_tokenizer, "tokenizer of tiny does not know the image token <image>"),
        (more_words, "writes token 63, and its model knows 62"),
        (no_numbers, r"makes no numbers of a picture \(in float32\)"),
        (other_pictures, r"tiny and its processor do not fit together: Input image size \(32\*32\) doesn't match"),
        (no_pictures, "processor of tiny does not prepare a picture"),
    ],
)
def test_the_rest_is_one_sentence(broken: Callable[[Policy], None], says: str) -> None:
    policy = tiny("llava")
    broken(policy)
    with pytest.raises(ModelError, match=says):
        run_smoke_test(policy)


def test_patches_that_merge_otherwise() -> None:
    policy = tiny("qwen2_vl")
    policy.processor.image_processor.merge_size = 1
    with pytest.raises(ModelError, match="do not fit together"):
        run_smoke_test(policy)


def test_a_bos_that_the_template_leaves_to_the_tokenizer() -> None:
    """A processor puts it in front of a whole conversation; where prompt and answer are tokenised apart none does."""
    policy = tiny("llava")
    policy.processor.chat_template = policy.processor.chat_template.replace("{{ bos_token }}", "")
    policy.tokenizer._tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    run_smoke_test(policy)
    ids = policy.prompter.prepare([Message("user", "describe")], [picture()])["input_ids"][0].tolist()
    assert ids[0] == 1
    assert ids.count(1) == 1
    assert policy.mended == {"chat_template": "bos_token in front"}


def test_a_template_in_the_tokenizers_files(folder: Path) -> None:
    file = folder / "chat_template.jinja"
    template = file.read_text()
    file.unlink()
    edit(folder / "tokenizer_config.json", lambda content: content.update(chat_template=template))
    assert answers(load_policy(ModelRef(str(folder)))) == answers(load_policy(ModelRef(MODEL)))


def test_a_model_that_lacks_weights_is_refused(folder: Path) -> None:
    file = folder / "model.safetensors"
    weights = {name: value for name, value in load_file(file).items() if "vision_tower" not in name}
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lack 55 of the model's weights, which would be random: model\.vision_tower"):
        load_policy(ModelRef(str(folder)))


def test_weights_cut_short(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(ModelError, match=r"Its weights are not whole: a broken download"):
        load_policy(ModelRef(str(folder)))


@pytest.mark.skipif(find_spec("torchvision") is not None, reason="nothing is missing")
@pytest.mark.parametrize("name", ["qwen2_vl", "llava_pixtral"])
def test_a_missing_torchvision(name: str, tmp_path: Path) -> None:
    for part in parts(name):
        part.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"torchvision: pip install 'mmpref\[vision\]'"):
        load_policy(ModelRef(str(tmp_path)))
