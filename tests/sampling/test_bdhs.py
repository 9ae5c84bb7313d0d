"""BDHS on the testbed's real model, against a naive oracle that masks instead of dropping."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import pytest
import torch

from mmpref.errors import UsageError
from mmpref.images import decode as decode_image
from mmpref.sampling.bdhs import BdhsSampler, BdhsSettings, Rejected
from mmpref.sampling.sentences import split
from mmpref.sampling.similarity import Similarity, load_similarity
from mmpref.tables.open import open_table
from mmpref.types import Example, ImageData, Message, ModelRef
from mmpref.vlm.branches import Branch
from mmpref.vlm.decoding import Decoding
from mmpref.vlm.encode import EncodedPrompt, encode
from mmpref.vlm.generate import decode
from mmpref.vlm.load import load_policy
from mmpref.vlm.policy import Policy

SETTINGS = BdhsSettings(
    similarity_model="pkg:mmpref.testbed/embedder", max_tail_tokens=24, max_answer_tokens=40, iterations=3
)


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load_policy(ModelRef("pkg:mmpref.testbed/model"))


@pytest.fixture(scope="module")
def similarity() -> Similarity:
    return load_similarity(SETTINGS.similarity_model)


@pytest.fixture(scope="module")
def examples() -> list[Example]:
    return [
        Example(
            row["id"],
            tuple(ImageData(content["bytes"] if isinstance(content, dict) else content) for content in row["images"]),
            tuple(Message(turn["role"], turn["content"]) for turn in row["prompt"]),
            row["completion"][0]["content"],
            row["id"],
        )
        for row in islice(open_table("testbed"), 12)
    ]


@pytest.fixture
def sample(policy: Policy, similarity: Similarity):
    def run(examples: list[Example], seed: int = 0, **changes: object) -> list[Rejected]:
        return BdhsSampler(policy, similarity, replace(SETTINGS, **changes), seed)(examples)

    return run


def _with_answer(example: Example, answer: str, name: str = "x") -> Example:
    return replace(example, answer=answer, id=name)


def test_without_image_tokens_the_image_does_not_matter(sample, examples: list[Example]) -> None:
    swapped = [replace(e, images=o.images) for e, o in zip(examples, examples[1:] + examples[:1], strict=True)]
    assert sample(examples, rho_th=1.0) == sample(swapped, rho_th=1.0)
    assert sample(examples, rho_th=0.0) != sample(swapped, rho_th=0.0)


def test_the_same_seed_gives_the_same_answers_in_any_batch_and_order(sample, examples: list[Example]) -> None:
    expected = [made.answer for made in sample(examples)]
    assert [made.answer for made in sample(examples, batch_size=3)] == expected
    assert [made.answer for made in sample(examples[::-1])][::-1] == expected
    assert [made.answer for made in sample(examples, seed=1)] != expected


def test_a_leading_yes_is_swapped_about_half_of_the_time(sample, examples: list[Example]) -> None:
    asked = [_with_answer(examples[0], "Yes, there is a red ball.", f"q{number}") for number in range(24)]
    made = [rejected.answer for rejected in sample(asked, iterations=1)]
    assert 4 <= sum(answer.startswith("No") for answer in made) <= 20
    assert all(answer.strip() for answer in made)


def test_a_one_word_answer_has_an_outcome(sample, examples: list[Example]) -> None:
    made = sample([_with_answer(examples[0], word, word) for word in ("Yes", "no", "red")])
    assert len(made) == 3
    assert all(1 <= rejected.iterations <= SETTINGS.iterations for rejected in made)


def test_the_last_try_is_unguided_and_taken(sample, examples: list[Example]) -> None:
    made = sample(examples, similarity_threshold=-2.0)
    assert {rejected.iterations for rejected in made} == {3}
    free = sample(examples, similarity_threshold=-2.0, guidance=False)
    assert [rejected.answer for rejected in made] == [rejected.answer for rejected in free]


def test_a_guided_answer_keeps_the_sentences_of_the_reference(sample, examples: list[Example]) -> None:
    long = [example for example in examples if len(split(example.answer)) > 1]
    assert long
    made = sample(long, iterations=1)
    # A sentence can be lost, where the model ends the answer at a cut before it; most are not.
    kept = [
        len(split(rejected.answer)) >= len(split(example.answer)) for example, rejected in zip(long, made, strict=True)
    ]
    assert sum(kept) > len(kept) / 2
    assert all(rejected.answer == rejected.answer.strip() for rejected in made)
    assert not any("  " in rejected.answer for rejected in made)
    shared = [
        len(_common(example.answer, rejected.answer))
        for example, rejected in zip(examples, sample(examples, iterations=1), strict=True)
    ]
    assert sum(size > 0 for size in shared) > len(shared) / 2


def _common(left: str, right: str) -> str:
    return left[: next((i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), len(left))]


def test_the_noise_variant_gives_answers(sample, examples: list[Example]) -> None:
    noisy = sample(examples[:4], noise_steps=900)
    assert noisy == sample(examples[:4], noise_steps=900)
    assert all(rejected.answer.strip() for rejected in noisy)


def test_compact_positions_are_renumbered(sample, policy: Policy, examples: list[Example]) -> None:
    context = _context(policy, examples[0])
    compact = context.drop(torch.zeros(context.image_tokens, dtype=torch.bool), "compact")
    assert compact.positions.tolist() == [list(range(len(compact.embeds)))]
    assert len(sample(examples[:2], positions="compact")) == 2
    several = replace(context, positions=context.positions.expand(3, -1))
    with pytest.raises(UsageError, match="M-RoPE"):
        several.drop(torch.ones(context.image_tokens, dtype=torch.bool), "compact")


def _context(policy: Policy, example: Example) -> EncodedPrompt:
    return encode(policy, [policy.prompter.prepare(example.prompt, [decode_image(image) for image in example.images])])[
        0
    ]


@torch.inference_mode()
def _masked_logits(policy: Policy, context: EncodedPrompt, kept: torch.Tensor, written: list[int]) -> torch.Tensor:
    """Next-token logits of the whole sequence, without a cache, hidden image tokens masked for every query."""
    visible = torch.ones(len(context.embeds) + len(written), dtype=torch.bool)
    visible[: len(context.embeds)][context.is_image] = kept
    embeds = torch.cat([context.embeds, policy.embed(torch.tensor(written, dtype=torch.long))])[None]
    size = embeds.shape[1]
    allowed = torch.ones(size, size, dtype=torch.bool).tril() & visible[None, :]
    mask = torch.where(allowed, 0.0, torch.finfo(torch.float32).min)[None, None]
    positions = torch.arange(size)[None]
    hidden = policy.decoder(
        inputs_embeds=embeds, attention_mask=mask, position_ids=positions, use_cache=False
    ).last_hidden_state
    return policy.head(hidden[0, -1]).float()


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_dropping_image_tokens_equals_masking_them(policy: Policy, examples: list[Example], share: float) -> None:
    torch.manual_seed(0)
    for example in examples[:4]:
        context = _context(policy, example)
        kept = torch.rand(context.image_tokens) < share
        dropped = context.drop(kept, "original")
        ours = _dropped_logits(policy, dropped)
        assert torch.allclose(ours, _masked_logits(policy, context, kept, []), atol=1e-4)
        [tokens] = decode(policy, [Branch(dropped)], Decoding(16, greedy=True))
        assert tokens == _greedy(policy, context, kept, 16)


@torch.inference_mode()
def _dropped_logits(policy: Policy, context: EncodedPrompt) -> torch.Tensor:
    hidden = policy.decoder(
        inputs_embeds=context.embeds[None],
        attention_mask=torch.ones(1, len(context.embeds), dtype=torch.long),
        position_ids=context.positions,
        use_cache=False,
    ).last_hidden_state
    return policy.head(hidden[0, -1]).float()


@torch.inference_mode()
def _greedy(policy: Policy, context: EncodedPrompt, kept: torch.Tensor, limit: int) -> list[int]:
    written: list[int] = []
    while len(written) < limit:
        logits = _masked_logits(policy, context, kept, written)
        logits[sorted(policy.suppressed_ids)] = -torch.inf
        token = int(logits.argmax())
        if token in policy.eos_ids:
            break
        written.append(token)
    return written
