"""Every family: dropping image tokens is hiding them, and whole answers are those of the model without a cache.

The oracle runs the model's decoder on the whole sequence, image tokens hidden by an additive 4-D mask, anew for every
token; the model's own `generate` is the other one, for what it can do (nothing hidden).
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from mmpref.errors import ModelError
from mmpref.types import Message
from mmpref.vlm.attention import kinds_of_layers
from mmpref.vlm.branches import Branch
from mmpref.vlm.decoding import Decoding
from mmpref.vlm.encode import EncodedPrompt, encode
from mmpref.vlm.families import FAMILIES
from mmpref.vlm.generate import decode
from mmpref.vlm.policy import Policy
from mmpref.vlm.transformers_pool import TransformersPool
from tests.vlm.tiny import BUILDERS, picture, policy_of

pytestmark = pytest.mark.usefixtures("one_thread")

MESSAGES = (Message("user", "describe the picture ."),)
AT_THE_DOOR = ["gemma4_per_layer"]
"""Their decoders are given more than can be dropped, which shows when a prompt is encoded."""
EVERY = pytest.mark.parametrize("name", [name for name in BUILDERS if name not in AT_THE_DOOR])
GENERATE_SHIFTS = {"paligemma", "paligemma2"}
"""`generate` treats what is written as prompt, which sees itself both ways; answers are causal."""


def half_kept(context: EncodedPrompt, seed: int = 0) -> torch.Tensor:
    order = torch.randperm(context.image_tokens, generator=torch.Generator().manual_seed(seed))
    return order < context.image_tokens // 2


class Masked:
    """The oracle."""

    def __init__(self, policy: Policy, whole: EncodedPrompt, kept: torch.Tensor) -> None:
        self.policy, self.whole = policy, whole
        self.visible = torch.ones(len(whole.embeds), dtype=torch.bool)
        self.visible[whole.is_image] = kept

    @torch.inference_mode()
    def logits(self, written: Sequence[int]) -> torch.Tensor:
        whole, policy = self.whole, self.policy
        prompt, size = len(whole.embeds), len(whole.embeds) + len(written)
        embeds = torch.cat([whole.embeds, policy.embed(torch.tensor(written, dtype=torch.long))])
        steps = torch.arange(1, len(written) + 1)
        positions = torch.cat([whole.positions, whole.positions[:, -1:] + steps], dim=1)[:, None]
        masks = {}
        for kind, window in kinds_of_layers(policy.decoder.config).items():
            place = torch.arange(size)
            allowed = place[:, None] >= place
            if window is not None:
                allowed &= place[:, None] - place < window
            own = (whole.allowed or {}).get(kind, (whole.allowed or {}).get(""))
            if own is not None:
                allowed[:prompt, :prompt] = own
            allowed[:, :prompt] &= self.visible
            allowed |= torch.eye(size, dtype=torch.bool)  # a hidden row needs something to see; no other sees it
            masks[kind] = torch.zeros(size, size).masked_fill(~allowed, torch.finfo(torch.float32).min)[None, None]
        deep = {"visual_pos_masks": whole.is_image[None], "deepstack_visual_embeds": list(whole.deepstack)}
        hidden = policy.decoder(
            inputs_embeds=embeds[None],
            position_ids=positions if len(positions) > 1 else positions[0],
            attention_mask=masks if len(masks) > 1 else next(iter(masks.values())),
            use_cache=False,
            **({key: self._longer(value, size) for key, value in deep.items()} if whole.deepstack else {}),
        ).last_hidden_state
        return policy.head(hidden[0, -1])

    @staticmethod
    def _longer(value, size: int):
        return value if isinstance(value, list) else torch.nn.functional.pad(value, (0, size - value.shape[1]))

    @torch.inference_mode()
    def greedy(self, prefix: Sequence[int], limit: int) -> list[int]:
        written: list[int] = []
        while len(written) < limit:
            logits = self.logits([*prefix, *written])
            logits[sorted(self.policy.suppressed_ids)] = -torch.inf
            token = int(logits.argmax())
            if token in self.policy.eos_ids:
                break
            written.append(token)
        return written


def test_every_row_has_a_tiny_model():
    assert {family.model_type for family in FAMILIES} == {policy_of(name).family.model_type for name in BUILDERS}
    assert all(policy_of(name).family in FAMILIES for name in BUILDERS)


@pytest.mark.parametrize("name", AT_THE_DOOR)
def test_what_cannot_be_dropped_is_refused(name):
    with pytest.raises(ModelError, match="also given"):
        encode(policy_of(name), [policy_of(name).prompter.prepare(MESSAGES, [picture()])])[0]


@EVERY
def test_logits_and_answers_are_those_of_the_masked_model(name):
    policy = policy_of(name)
    whole = encode(policy, [policy.prompter.prepare(MESSAGES, [picture()])])[0]
    base = len(policy.tokenizer) - 40
    prefix = tuple(range(base, base + 6))
    answers = set()
    for kept in (half_kept(whole), torch.zeros(whole.image_tokens, dtype=torch.bool)):
        oracle, dropped = Masked(policy, whole, kept), whole.drop(kept, "original")
        assert dropped.image_tokens == int(kept.sum())
        # Several branches of one prefill, one of which leaves it early.
        prefixes = [(), prefix[:2], prefix, (*prefix[:3], base + 20, base + 21)]
        ours = decode(policy, [Branch(dropped, given) for given in prefixes], Decoding(max_new_tokens=7))
        assert ours == [oracle.greedy(given, 7) for given in prefixes]
        answers.update(map(tuple, ours))
    assert len(answers) > 2


@EVERY
def test_the_mask_matters(name):
    policy = policy_of(name)
    whole = encode(policy, [policy.prompter.prepare(MESSAGES, [picture()])])[0]
    everything = torch.ones(whole.image_tokens, dtype=torch.bool)
    seen, hidden = Masked(policy, whole, everything).logits([]), Masked(policy, whole, ~everything).logits([])
    assert (seen - hidden).abs().max() > 1e-2
    other = encode(policy, [policy.prompter.prepare(MESSAGES, [picture(1)])])[0]
    torch.testing.assert_close(Masked(policy, other, ~everything).logits([]), hidden, atol=1e-5, rtol=0)


@EVERY
def test_greedy_tokens_are_those_of_generate(name):
    policy = policy_of(name)
    prompts = [policy.prompter.prepare(MESSAGES, [picture(seed)]) for seed in range(2)]
    ours = decode(policy, [Branch(context) for context in encode(policy, prompts)], Decoding(max_new_tokens=8))
    for inputs, tokens in zip(prompts, ours, strict=True):
        with torch.inference_mode():
            whole = policy.model.generate(
                **inputs,
                max_new_tokens=1 if name in GENERATE_SHIFTS else 8,
                do_sample=False,
                suppress_tokens=sorted(policy.suppressed_ids),
            )[0]
        theirs = whole[inputs["input_ids"].shape[1] :].tolist()
        assert tokens[: len(theirs)] == [token for token in theirs if token not in policy.eos_ids]
    assert len({tuple(tokens) for tokens in ours}) > 1  # the image is seen


@EVERY
def test_logits_are_the_models_own(name):
    policy = policy_of(name)
    inputs = policy.prompter.prepare(MESSAGES, [picture()])
    whole = encode(policy, [inputs])[0]
    with torch.inference_mode():
        own = policy.model(**inputs, use_cache=False).logits[0, -1]
    ours = Masked(policy, whole, torch.ones(whole.image_tokens, dtype=torch.bool)).logits([])
    torch.testing.assert_close(ours, own, atol=1e-4, rtol=0)


@EVERY
def test_several_images_of_different_sizes_and_system_turns(name):
    policy = policy_of(name)
    talk = (Message("system", "w1 w2"), *MESSAGES) if name not in GENERATE_SHIFTS else MESSAGES
    prompts = [
        policy.prompter.prepare(MESSAGES, [picture()]),
        policy.prompter.prepare(talk, [picture(1, 40, 24)]),
        policy.prompter.prepare(MESSAGES, [picture(2), picture(3, 48, 32)]),
        policy.prompter.prepare(MESSAGES, [picture(4)]),
    ]
    together = encode(policy, prompts)
    dropped = [context.drop(half_kept(context), "original") for context in together]
    pooled = decode(policy, [Branch(context) for context in dropped], Decoding(max_new_tokens=6))
    for prompt, context, tokens in zip(prompts, together, pooled, strict=True):
        alone = encode(policy, [prompt])[0]
        torch.testing.assert_close(context.embeds, alone.embeds, atol=1e-4, rtol=1e-4)
        assert tokens == Masked(policy, alone, half_kept(alone)).greedy([], 6)


@pytest.mark.parametrize("name", ["llava", "llava_next", "qwen2_vl", "idefics3", "internvl", "deepseek_vl"])
def test_the_portable_path_gives_the_same_tokens(name):
    policy = policy_of(name)
    whole = encode(policy, [policy.prompter.prepare(MESSAGES, [picture()])])[0]
    dropped = whole.drop(half_kept(whole), "original")
    base = len(policy.tokenizer) - 40
    branches = [Branch(dropped, (base,) * number, (number,)) for number in range(5)]
    for decoding in (Decoding(8), Decoding(8, greedy=False, top_k=20, temperature=0.7, seed=3)):
        pool = TransformersPool(policy, decoding, 2)
        pool.add(branches)
        assert [tokens for _, tokens in sorted(pool)] == decode(policy, branches, decoding)
