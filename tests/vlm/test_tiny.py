"""The tiny models are fit to test with: they run, see images, and exercise what their families are known for."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from PIL import Image

from mmpref.errors import ModelError
from mmpref.types import Message
from mmpref.vlm.policy import Policy
from tests.vlm.tiny import BUILDERS, REFUSED, parts, picture, policy_of

pytestmark = pytest.mark.usefixtures("one_thread")

QUESTIONS = ((Message("user", "describe the picture ."),), (Message("user", "describe the picture . w1 w2 w3"),))
M_ROPE = ["qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe", "glm4v", "glm46v", "paddleocr_vl"]
# PaliGemma 2 has a window too, but its prompts see themselves whole: it matters for answers only.
SLIDING = [
    "llava_mistral_sliding",
    "llava_qwen2_sliding",
    "llava_gemma2",
    "mistral3_sliding",
    "gemma3",
    "gemma4",
    "gemma4_per_layer",
    "aya_vision",
    "cohere2_vision",
]
EVERY = pytest.mark.parametrize("name", BUILDERS)


def inputs_of(policy: Policy, *prompts: list[Image.Image]) -> Any:
    texts = [policy.render(question, len(images)) for images, question in zip(prompts, QUESTIONS, strict=False)]
    return policy.processor(
        text=texts, images=list(prompts), return_tensors="pt", add_special_tokens=False, padding=True
    )


@torch.inference_mode()
def run(policy: Policy, inputs: Any) -> tuple[torch.Tensor, dict[str, Any]]:
    """Logits of the last token of every prompt, and what reached the decoder."""
    seen: dict[str, Any] = {}
    door = policy.decoder.register_forward_pre_hook(lambda _module, _args, given: seen.update(given), with_kwargs=True)
    try:
        logits = policy.model(**inputs, use_cache=False).logits[:, -1]
    finally:
        door.remove()
    return logits, seen


@EVERY
@pytest.mark.parametrize("images", [[picture()], [picture(0), picture(1, 40, 24)]], ids=["one", "two"])
def test_the_image_tokens_announced_are_the_rows_merged(name, images):
    policy = policy_of(name)
    inputs = inputs_of(policy, images)
    ids = inputs["input_ids"][0]
    _, seen = run(policy, inputs)
    merged = (seen["inputs_embeds"][0] != policy.embed(ids)).any(dim=-1)
    # Ovis2 gives the marks around an image embeddings of the visual table too.
    marks = torch.tensor(getattr(policy.model.config, "visual_indicator_token_ids", []), dtype=torch.long)
    announced = ids == policy.image_token_id
    assert merged.equal(announced | torch.isin(ids, marks))
    assert int(announced.sum()) > len(images)


@EVERY
def test_the_answer_depends_on_the_image(name):
    policy = policy_of(name)
    logits = [run(policy, inputs_of(policy, [picture(seed)]))[0] for seed in range(2)]
    assert (logits[0] - logits[1]).abs().max() > 1e-2


@EVERY
def test_a_batch_is_its_prompts(name):
    policy = policy_of(name)
    images = picture(), picture(1, 40, 24)
    batch, _ = run(policy, inputs_of(policy, [images[0]], [images[1]]))
    first, _ = run(policy, inputs_of(policy, [images[0]]))
    torch.testing.assert_close(batch[:1], first, atol=1e-4, rtol=0)


@EVERY
def test_a_key_begins_with_the_model_type(name):
    assert name.startswith(policy_of(name).family.model_type)


@pytest.mark.parametrize("name", M_ROPE)
def test_m_rope_has_three_axes_that_differ(name):
    policy = policy_of(name)
    sections = policy.decoder.config.rope_parameters["mrope_section"]
    _, seen = run(policy, inputs_of(policy, [picture()]))
    time, height, width = seen["position_ids"].unbind()
    assert len(sections) == 3
    assert all(sections)
    assert not time.equal(height)
    assert not height.equal(width)


@pytest.mark.parametrize("name", ["qwen3_vl", "qwen3_vl_moe"])
def test_deepstack_features_reach_the_decoder(name):
    policy = policy_of(name)
    inputs = inputs_of(policy, [picture()])
    _, seen = run(policy, inputs)
    (features,) = seen["deepstack_visual_embeds"]
    assert len(features) == int((inputs["input_ids"] == policy.image_token_id).sum())
    assert features.abs().max() > 0


@pytest.mark.parametrize("name", SLIDING)
def test_the_sliding_window_matters(name):
    policy = policy_of(name)
    config, inputs = policy.decoder.config, inputs_of(policy, [picture()])
    narrow, _ = run(policy, inputs)
    window, config.sliding_window = config.sliding_window, 4096
    try:
        wide, _ = run(policy, inputs)
    finally:
        config.sliding_window = window
    assert (narrow - wide).abs().max() > 1e-2


@pytest.mark.parametrize("name", REFUSED)
def test_refused_families_make_no_policy_and_run(name):
    with pytest.raises(ModelError, match="does not support"):
        policy_of(name)
    model, processor = parts(name)
    turn = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "describe the picture ."}]}
    text = processor.apply_chat_template([turn], tokenize=False, add_generation_prompt=True)
    with torch.inference_mode():
        logits = [
            model(**processor(text=[text], images=[[picture(seed)]], return_tensors="pt")).logits[0, -1]
            for seed in range(2)
        ]
    assert (logits[0] - logits[1]).abs().max() > 1e-2
