"""Training: equal seeds give equal weights, and packed turns are what the model reads one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmpref.testbed.language import ask_where, caption
from mmpref.testbed.render import image
from mmpref.testbed.training import build
from mmpref.testbed.training.language import Batcher, features, image_order, train_language
from mmpref.testbed.training.looking import GuidedAttention
from mmpref.testbed.training.tower import train_tower
from mmpref.testbed.world import COLUMNS, ROWS, scene


def _trained(seed: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    processor = build.processor()
    model = build.model(processor.tokenizer)
    train_tower(model, processor, steps=20, batch=4, seed=seed, log=len)
    stages = {"align_steps": 20, "finding_steps": 6, "reading_steps": 6, "plain_scenes": 24}
    train_language(model, processor, steps=12, scenes=24, seed=seed, log=len, **stages)
    return model.state_dict()


@pytest.mark.long
def test_equal_seeds_give_equal_weights():
    one, two, other = _trained(0), _trained(0), _trained(1)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["lm_head.weight"], other["lm_head.weight"])


@torch.no_grad()
def test_packed_turns_equal_turns_read_alone(model, processor):
    truth = scene("test", 0)
    order = image_order(model, 10, 4)
    assert len(order) == build.IMAGE_TOKENS
    assert (order < 0).sum() == 6
    batcher = Batcher(processor, build.IMAGE_TOKENS)
    asked = ask_where(truth.things[0])
    turns = [("Describe the image.", caption(truth), 0.0), (*asked.turn(short=True), 0.0)]
    ids, labels, positions, mask = batcher([turns], np.random.default_rng(1))
    core = model.model
    seen = core.multi_modal_projector(features(model, processor, [truth]).float().flatten(1, 2))
    seen = torch.where((order < 0)[:, None], core.image_newline, seen[:, order.clamp(min=0)])
    embeds = core.language_model.embed_tokens(ids)
    embeds[:, batcher.image] = seen
    packed = core.language_model(inputs_embeds=embeds, position_ids=positions, attention_mask=mask).last_hidden_state
    at = len(batcher.prefix)
    for prompt, answer, _ in turns:
        branch, asked = batcher.branch(prompt, answer, " ")
        alone_ids = torch.tensor([batcher.prefix + branch])
        assert torch.equal(ids[0, at : at + len(branch)], alone_ids[0, len(batcher.prefix) :])
        assert (labels[0, at : at + asked] == -100).all()
        assert (labels[0, at + asked : at + len(branch)] >= 0).all()
        pixels = processor.image_processor([image(truth)], return_tensors="pt")
        alone = core(input_ids=alone_ids, **pixels).last_hidden_state[0, len(batcher.prefix) :]
        torch.testing.assert_close(packed[0, at : at + len(branch)], alone, atol=5e-3, rtol=1e-2)
        at += len(branch)


def test_guided_attention_wants_the_tiles_of_what_is_named(model, processor):
    truths = [scene("plain", 0), scene("plain", 1)]
    order = image_order(model, 10, 4)
    batcher = Batcher(processor, len(order))
    thing = truths[1].things[2]
    assert thing.name not in truths[0].names
    guide = GuidedAttention(processor.tokenizer, truths, order, batcher.image)
    word = processor.tokenizer(thing.name, add_special_tokens=False)["input_ids"][:1]
    ids = torch.tensor([batcher.prefix + word] * 2)
    length, asked = ids.shape[1], ids.shape[1] - 1
    cell = ROWS.index(thing.row) * COLUMNS + truths[1].columns[2]
    tiles = [batcher.image.start + place for place, patch in enumerate(order.tolist()) if patch // 4 == cell + 1]
    assert len(tiles) == 4
    nothing = torch.full_like(ids, -100)

    def looks(at: int, *rows: list[int]) -> torch.Tensor:
        attention = torch.zeros(2, 3, length, length)
        for row, places in enumerate(rows):
            attention[row, 0, at, places] = 1 / len(places)
        return attention

    def found(first: list[int], second: list[int]) -> float:
        attentions = (looks(asked, first, second), looks(asked, [0], [0]))
        return guide(attentions, ids, nothing, torch.tensor([0, 1])).item()

    assert found([0], tiles) == pytest.approx(0, abs=1e-6), "on the first token where it is not there"
    assert found(tiles, tiles) > 1
    assert found([0], [0]) > 1
    assert found([0], [*tiles, tiles[-1] + 1]) == pytest.approx(-np.log(4 / 5) / 2, rel=1e-5)

    def coming(second: list[int]) -> float:
        targets = torch.where(torch.arange(length) == asked, ids, nothing)
        attentions = (looks(asked, [0], tiles), looks(asked - 1, tiles, second))
        return guide(attentions, ids, targets, torch.tensor([0, 1])).item()

    assert coming(tiles) == pytest.approx(0, abs=1e-6), "what is not there is not looked for"
    assert coming([0]) > 1
