"""Teaching the vision tower to see: the shape and the colour of the thing in each 24 x 24 tile.

Without it a model trained from scratch takes many times longer to look at its images at all. The scenes here have
no bias, as an image encoder's pre-training knows nothing of the captions to come.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from transformers import LlavaNextForConditionalGeneration, LlavaNextProcessor

from mmpref.testbed.render import image
from mmpref.testbed.world import COLOURS, NOISE, PLACES, SHAPES, Scene, Thing

_FIRST = 10_000_000  # pixel streams of these scenes lie far behind those of the captioned ones
EMPTY_SHARE = 0.15


def pixel_values(processor: LlavaNextProcessor, scenes: Sequence[Scene]) -> torch.Tensor:
    """Return float32 pixels of shape (scenes, 5, 3, 24, 24): the thumbnail, then the tiles in reading order."""
    batch = processor.image_processor([image(scene) for scene in scenes], return_tensors="pt")
    return batch["pixel_values"].float()


def full_scene(number: int, seed: int) -> Scene:
    """Draw a scene with a thing in almost every quadrant, every shape and colour equally likely."""
    rng = np.random.default_rng([seed, number])
    things = tuple(
        Thing(COLOURS[rng.integers(len(COLOURS))], SHAPES[rng.integers(len(SHAPES))], place)
        for place in PLACES
        if rng.random() >= EMPTY_SHARE
    )
    return Scene("pretrain", _FIRST + number, things, float(rng.uniform(*NOISE)))


def labels(scene: Scene) -> tuple[list[int], list[int]]:
    """Return the class of shape and of colour for each place; the last class means that nothing is there."""
    at = {thing.place: thing for thing in scene.things}
    shapes = [SHAPES.index(at[p].shape) if p in at else len(SHAPES) for p in PLACES]
    colours = [COLOURS.index(at[p].colour) if p in at else len(COLOURS) for p in PLACES]
    return shapes, colours


def train_tower(
    model: LlavaNextForConditionalGeneration,
    processor: LlavaNextProcessor,
    *,
    steps: int,
    batch: int = 48,
    seed: int = 0,
    rate: float = 2e-3,
    log: Callable[[str], object] = print,
) -> float:
    """Train the tower in place and return the share of tiles whose shape it names in the last tenth of the steps."""
    tower = model.model.vision_tower
    width = tower.config.hidden_size
    heads = nn.ModuleList([nn.Linear(width, len(SHAPES) + 1), nn.Linear(width, len(COLOURS) + 1)])
    optimizer = torch.optim.AdamW([*tower.parameters(), *heads.parameters()], lr=rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, rate, total_steps=steps, pct_start=0.1, cycle_momentum=False
    )
    right: list[float] = []
    start = time.process_time()
    for step in range(steps):
        scenes = [full_scene(step * batch + k, seed) for k in range(batch)]
        pixels = pixel_values(processor, scenes)[:, 1:].flatten(0, 1)
        truth = torch.tensor([labels(scene) for scene in scenes]).permute(1, 0, 2).flatten(1)
        pooled = tower(pixels, output_hidden_states=True).hidden_states[-1][:, 1:].mean(dim=1)
        shape, colour = heads[0](pooled), heads[1](pooled)
        loss = F.cross_entropy(shape, truth[0]) + F.cross_entropy(colour, truth[1])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(tower.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        right.append((shape.argmax(-1) == truth[0]).float().mean().item())
        if step % 50 == 49:
            seconds = time.process_time() - start
            log(f"tower {step + 1}/{steps} loss {loss.item():.3f} shapes {np.mean(right[-50:]):.3f} {seconds:.0f} s")
    return float(np.mean(right[-max(1, steps // 10) :]))
