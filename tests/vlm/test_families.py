"""Every row of the family table: the shared code reads, drops and decodes as transformers itself does."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from PIL import Image

from mmpref.types import Message
from mmpref.vlm.decode import Branch, Decoding, decode
from mmpref.vlm.families import FAMILIES
from mmpref.vlm.policy import Policy
from mmpref.vlm.vision import embed_prompt
from tests.vlm.tiny import BUILDERS, tiny

MESSAGES = (Message("user", "describe the picture ."),)
ROWS = pytest.mark.parametrize("model_type", [family.model_type for family in FAMILIES])

policy_of = cache(tiny)


def picture(seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (24, 40, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def inputs_of(policy: Policy, image: Image.Image) -> dict[str, torch.Tensor]:
    text = policy.render(MESSAGES, 1)
    return policy.processor(text=[text], images=[[image]], return_tensors="pt", add_special_tokens=False)


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_every_row_has_a_tiny_model():
    assert {family.model_type for family in FAMILIES} == set(BUILDERS)


@ROWS
def test_image_rows_are_the_processors_image_tokens(model_type):
    policy = policy_of(model_type)
    context = embed_prompt(policy, MESSAGES, [picture()])
    announced = inputs_of(policy, picture())["input_ids"][0] == policy.image_token_id
    assert context.image_tokens == int(announced.sum()) > 1
    other = embed_prompt(policy, MESSAGES, [picture(1)])
    changed = (context.embeds != other.embeds).any(dim=1)
    assert not changed[~context.is_image].any()
    assert changed[context.is_image].sum() > context.image_tokens / 2  # row newlines do not depend on the image


@ROWS
def test_greedy_tokens_are_those_of_generate(model_type):
    policy = policy_of(model_type)
    answers = set()
    for seed in range(3):
        context = embed_prompt(policy, MESSAGES, [picture(seed)])
        (ours,) = decode(policy, [Branch(context)], Decoding(max_new_tokens=8))
        inputs = inputs_of(policy, picture(seed))
        with torch.inference_mode():
            whole = policy.model.generate(
                **inputs, max_new_tokens=8, do_sample=False, suppress_tokens=sorted(policy.never_written)
            )[0]
        theirs = whole[inputs["input_ids"].shape[1] :].tolist()
        assert ours == [token for token in theirs if token not in policy.eos_ids]
        answers.add(tuple(ours))
    assert len(answers) > 1  # the image is seen


@ROWS
def test_dropping_image_tokens_is_masking_them(model_type):
    policy = policy_of(model_type)
    whole = embed_prompt(policy, MESSAGES, [picture()])
    order = torch.randperm(whole.image_tokens, generator=torch.Generator().manual_seed(0))
    kept = order < whole.image_tokens // 2
    dropped = whole.drop(kept, "original")
    assert dropped.image_tokens == int(kept.sum())

    size = len(whole.embeds)
    visible = torch.ones(size, dtype=torch.bool)
    visible[whole.is_image] = kept
    allowed = torch.ones(size, size, dtype=torch.bool).tril() & visible
    allowed |= torch.eye(size, dtype=torch.bool)  # a hidden row needs something to attend to; no other row sees it
    naive = _last_logits(policy, whole.embeds, whole.positions, _additive(allowed))
    ours = _last_logits(policy, dropped.embeds, dropped.positions, torch.ones(1, len(dropped.embeds)).long())
    full = _last_logits(policy, whole.embeds, whole.positions, torch.ones(1, size).long())
    torch.testing.assert_close(ours, naive, atol=1e-4, rtol=0)
    assert (full - naive).abs().max() > 1e-2  # the mask matters

    (tokens,) = decode(policy, [Branch(dropped)], Decoding(max_new_tokens=1))
    naive = naive.index_fill(0, torch.tensor(sorted(policy.never_written)), -torch.inf)
    best = int(naive.argmax())
    assert tokens == ([] if best in policy.eos_ids else [best])


def _additive(allowed: torch.Tensor) -> torch.Tensor:
    return torch.zeros(allowed.shape).masked_fill(~allowed, torch.finfo(torch.float32).min)[None, None]


@torch.inference_mode()
def _last_logits(policy: Policy, embeds: torch.Tensor, positions: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    numbers = positions[:, None] if len(positions) > 1 else positions
    hidden = policy.decoder(
        inputs_embeds=embeds[None], position_ids=numbers, attention_mask=mask, use_cache=False
    ).last_hidden_state
    return policy.head(hidden[0, -1])
