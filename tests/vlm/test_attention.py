"""Prompts and texts are laid out in vectors as they are row by row, and rows enter a cache as they stood."""

from __future__ import annotations

import pytest
import torch
from transformers import DynamicCache

from mmpref.vlm.encode import EncodedPrompt
from mmpref.vlm.layout import Layout
from mmpref.vlm.row_cache import Prefilled, RowCache

SIZES, TEXTS = (4, 6, 3), (2, 0, 5)


def prompts_of(axes: int) -> list[EncodedPrompt]:
    """Each with a gap in its order, as dropping leaves it."""
    made = []
    for number, size in enumerate(SIZES):
        order = torch.arange(size) + 10 * (torch.arange(size) > 1)
        positions = torch.stack([order + axis for axis in range(axes)])
        made.append(EncodedPrompt(torch.randn(size, 8), positions, torch.arange(size) < number + 1, order))
    return made


@pytest.mark.parametrize("axes", [1, 3])
@pytest.mark.parametrize("texts", [TEXTS, (0, 0, 0)])
def test_a_layout_is_its_rows(axes: int, texts: tuple[int, ...]) -> None:
    prompts = prompts_of(axes)
    lengths = [size + text for size, text in zip(SIZES, texts, strict=True)]
    written = torch.randn(3, max(texts), 8) if any(texts) else None
    embeds = torch.zeros(3, max(lengths), 8)
    positions, order = torch.zeros(axes, 3, max(lengths), dtype=torch.long), torch.zeros(3, max(lengths)).long()
    is_image = torch.zeros(3, max(lengths), dtype=torch.bool)
    for row, (prompt, text) in enumerate(zip(prompts, texts, strict=True)):
        begin, end = len(prompt.embeds), lengths[row]
        embeds[row, :begin], positions[:, row, :begin] = prompt.embeds, prompt.positions
        order[row, :begin], is_image[row, :begin] = prompt.order, prompt.is_image
        if written is not None and text:
            embeds[row, begin:end] = written[row, :text]
            positions[:, row, begin:end] = prompt.positions[:, -1:] + 1 + torch.arange(text)
            order[row, begin:end] = int(prompt.order[-1]) + 1 + torch.arange(text)
    layout = Layout(prompts, texts)
    assert torch.equal(layout.embeds(written), embeds)
    assert torch.equal(layout.positions, positions)
    assert torch.equal(layout.order, order)
    assert torch.equal(layout.is_image(), is_image)
    assert layout.valid.sum(1).tolist() == lengths


@pytest.mark.parametrize("axes", [1, 3])
def test_rows_of_a_cache_go_on_from_where_they_entered(axes: int) -> None:
    prompts = prompts_of(axes)
    layout = Layout(prompts, TEXTS)
    cache = DynamicCache()
    keys = torch.randn(3, 2, layout.order.shape[1], 4)
    cache.update(keys, -keys, 0)
    rows = RowCache(torch.device("cpu"))
    sources, lengths = [0, 0, 2, 1], [6, 5, 8, 6]
    rows.enter(0, Prefilled(cache, layout.positions, layout.order), sources, lengths)
    rows.move(3, 1)
    rows.rows = 3
    sources, lengths = [0, 1, 2], [6, 6, 8]
    for step in range(2):
        positions, distance = rows.advance(0, [1] * 3)
        assert rows.slots[:, 0].tolist() == [length + step for length in lengths]
        for row, (source, length) in enumerate(zip(sources, lengths, strict=True)):
            prompt, text = prompts[source], length - SIZES[source]
            assert torch.equal(positions[:, row, 0], prompt.positions[:, -1] + 1 + text + step)
            order = torch.cat([prompt.order, int(prompt.order[-1]) + 1 + torch.arange(text + step + 1)])
            seen = distance[row, 0, : length + step + 1]
            assert torch.equal(seen, order[-1] - order)
            assert (distance[row, 0, length + step + 1 :] < 0).all()
            assert torch.equal(rows.layers.layers[0].keys[row, :, :length], keys[source, :, :length])


def test_rows_of_text_alone_and_of_images_have_their_positions_in_one_cache() -> None:
    """A prompt without images has one axis where M-RoPE gives the others three."""
    (text,), images = prompts_of(1)[:1], prompts_of(3)[1:]
    keys = torch.randn(2, 2, 8, 4)
    rows = RowCache(torch.device("cpu"))
    for first, prompts in enumerate(([text], images)):
        layout, cache = Layout(prompts, [1] * len(prompts)), DynamicCache()
        cache.update(keys[: len(prompts)], keys[: len(prompts)], 0)
        lengths = [len(prompt.embeds) for prompt in prompts]
        rows.enter(first, Prefilled(cache, layout.positions, layout.order), range(len(prompts)), lengths)
    positions, _ = rows.advance(0, [1] * 3)
    expected = [prompt.positions[:, -1].expand(3) + 1 for prompt in (text, *images)]
    assert torch.equal(positions[:, :, 0], torch.stack(expected, 1))
    mixed = Layout([text, *images], [1, 1, 1])
    assert torch.equal(mixed.positions[:, 0, :5], layout_alone(text).expand(3, -1))


def layout_alone(prompt: EncodedPrompt) -> torch.Tensor:
    return Layout([prompt], [1]).positions[:, 0]
