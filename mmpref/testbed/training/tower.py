"""Teaching the vision tower: what is in every cell of a full scene, where the cell is, and what kind of place.

A tile of the image is encoded by itself: its row and column can only be told from the ground and light behind it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F
from transformers import LlavaNextForConditionalGeneration, LlavaNextProcessor

from mmpref.testbed.render import CELL, pixels
from mmpref.testbed.things import KINDS, THINGS
from mmpref.testbed.world import CLARITY, COLUMNS, ROWS, SIDES, Scene, Thing

_FIRST = 10_000_000  # pixel streams of these scenes lie far behind those of the captioned ones
EMPTY_SHARE = 0.2
UNCLEAR_SHARE = 0.2
PATCHES = 4  # a tile


def crops(processor: LlavaNextProcessor, pictures: Sequence[np.ndarray]) -> torch.Tensor:
    """What the processor makes of 96 x 96 pictures, faster: float32 (pictures, 10, 3, 32, 32), the thumbnail first."""
    images = processor.image_processor
    mean, std = np.array(images.image_mean, np.float32), np.array(images.image_std, np.float32)
    stacked = np.stack(pictures)
    small = [np.asarray(Image.fromarray(p).resize((CELL, CELL), Image.Resampling.BICUBIC)) for p in pictures]
    tiles = stacked.reshape(-1, 3, CELL, 3, CELL, 3).transpose(0, 1, 3, 2, 4, 5).reshape(-1, 9, CELL, CELL, 3)
    every = np.concatenate([np.stack(small)[:, None], tiles], axis=1)
    return torch.from_numpy(((every / np.float32(255) - mean) / std).transpose(0, 1, 4, 2, 3).copy())


def full_scene(number: int, seed: int) -> Scene:
    """Draw a scene with a thing in almost every cell, every thing and every kind of place equally likely."""
    rng = np.random.default_rng([seed, number])
    cells = [(row, column) for row in ROWS for column in range(COLUMNS) if rng.random() >= EMPTY_SHARE]
    things = tuple(Thing(THINGS[rng.integers(len(THINGS))], row, SIDES[0]) for row, _ in cells)
    clarity = tuple(float(rng.uniform(*CLARITY)) if rng.random() < UNCLEAR_SHARE else 1.0 for _ in cells)
    kind = tuple(KINDS)[rng.integers(len(KINDS))]
    return Scene("train", _FIRST + number, kind, things, tuple(column for _, column in cells), clarity)


def labels(scene: Scene) -> tuple[list[int], list[float]]:
    """The class of the thing in each of the nine cells (the last: nothing) and its clarity (0: nothing)."""
    classes, clarity = [len(THINGS)] * 9, [0.0] * 9
    for thing, column, clear in zip(scene.things, scene.columns, scene.clarity, strict=True):
        place = ROWS.index(thing.row) * COLUMNS + column
        classes[place], clarity[place] = THINGS.index(thing.name), clear
    return classes, clarity


def train_tower(
    model: LlavaNextForConditionalGeneration,
    processor: LlavaNextProcessor,
    *,
    steps: int,
    scenes: int = 16000,
    batch: int = 64,
    seed: int = 0,
    rate: float = 2e-3,
    log: Callable[[str], object] = print,
) -> dict[str, float]:
    """Train the tower in place.

    Returns:
        shares of things named rightly in the last tenth of the steps: of those seen well, and of those seen badly.
    """
    tower = model.model.vision_tower
    width = tower.config.hidden_size
    heads = nn.ModuleList([nn.Linear(width, size) for size in (len(THINGS) + 1, len(KINDS), len(ROWS), COLUMNS)])
    trained = [*tower.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(trained, lr=rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, rate, total_steps=steps, pct_start=0.1, cycle_momentum=False
    )
    truths = [full_scene(number, seed) for number in range(min(scenes, steps * batch))]
    pictures = [pixels(truth) for truth in truths]
    classes, clarity = (torch.tensor(part) for part in zip(*map(labels, truths), strict=True))
    kinds = torch.tensor([list(KINDS).index(truth.kind) for truth in truths])
    rows = torch.arange(len(ROWS)).repeat_interleave(COLUMNS * PATCHES)
    columns = torch.arange(COLUMNS).repeat_interleave(PATCHES).repeat(len(ROWS))
    rng = np.random.default_rng([seed, 5])
    right: dict[str, list[float]] = {"clear": [], "unclear": []}
    start = time.process_time()
    order: list[int] = []
    for step in range(steps):
        if len(order) < batch:
            order = rng.permutation(len(truths)).tolist()
        chosen, order = order[:batch], order[batch:]
        values = crops(processor, [pictures[k] for k in chosen])
        hidden = tower(values.flatten(0, 1), output_hidden_states=True).hidden_states[-1][:, 1:]
        hidden = hidden.unflatten(0, values.shape[:2])
        named = heads[0](hidden[:, 1:].mean(dim=2))
        place = heads[1](hidden).flatten(1, 2)
        loss = F.cross_entropy(named.flatten(0, 1), classes[chosen].flatten())
        loss = loss + 0.3 * F.cross_entropy(
            place.flatten(0, 1), kinds[chosen][:, None].expand(-1, place.shape[1]).flatten()
        )
        for head, place in ((heads[2], rows), (heads[3], columns)):
            told = head(hidden[:, 1:]).flatten(1, 2)
            loss = loss + 0.3 * F.cross_entropy(told.flatten(0, 1), place.repeat(batch))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(tower.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        hit = named.argmax(-1) == classes[chosen]
        for name, where in (
            ("clear", clarity[chosen] == 1),
            ("unclear", (clarity[chosen] > 0) & (clarity[chosen] < 1)),
        ):
            right[name].append(hit[where].float().mean().item())
        if step % 100 == 99:
            seconds = time.process_time() - start
            shares = " ".join(f"{name} {np.mean(values[-100:]):.3f}" for name, values in right.items())
            log(f"tower {step + 1}/{steps} loss {loss.item():.3f} {shares} {seconds:.0f} s")
    last = max(1, steps // 10)
    return {name: float(np.mean(values[-last:])) for name, values in right.items()}
