"""Teaching the vision tower: what is in every cell of a full scene, where the cell is, and what kind of place.

Where a tile of the image is encoded by itself, its row and column can only be told from the ground and light behind.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from mmpref.testbed.render import pixels
from mmpref.testbed.things import KINDS, THINGS
from mmpref.testbed.training.eyes import Eyes
from mmpref.testbed.world import CLARITY, COLUMNS, ROWS, SIDES, Scene, Thing, familiar

_FIRST = 10_000_000  # pixel streams of these scenes lie far behind those of the captioned ones
EMPTY_SHARE = 0.2
UNCLEAR_SHARE = 0.2


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
    eyes: Eyes,
    *,
    steps: int,
    scenes: int = 16000,
    batch: int = 64,
    seed: int = 0,
    rate: float = 2e-3,
    held_out: bool = False,
    log: Callable[[str], object] = print,
) -> dict[str, float]:
    """Train the tower in place.

    Args:
        held_out: leave out what is held out of its kind of place (`world.familiar`).

    Returns:
        shares of things named rightly in the last tenth of the steps: of those seen well, and of those seen badly.
    """
    tower, cells = list(eyes.tower), slice(int(eyes.gist), None)
    heads = nn.ModuleList([nn.Linear(eyes.width, size) for size in (len(THINGS) + 1, len(KINDS), len(ROWS), COLUMNS)])
    trained = [*tower, *heads.parameters()]
    optimizer = torch.optim.AdamW(trained, lr=rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, rate, total_steps=steps, pct_start=0.1, cycle_momentum=False
    )
    truths = [full_scene(number, seed) for number in range(min(scenes, steps * batch))]
    truths = [familiar(truth) for truth in truths] if held_out else truths
    pictures = [pixels(truth) for truth in truths]
    classes, clarity = (torch.tensor(part) for part in zip(*map(labels, truths), strict=True))
    kinds = torch.tensor([list(KINDS).index(truth.kind) for truth in truths])
    rows = torch.arange(len(ROWS)).repeat_interleave(COLUMNS * eyes.patches)
    columns = torch.arange(COLUMNS).repeat_interleave(eyes.patches).repeat(len(ROWS))
    rng = np.random.default_rng([seed, 5])
    right: dict[str, list[float]] = {"clear": [], "unclear": []}
    start = time.process_time()
    order: list[int] = []
    for step in range(steps):
        if len(order) < batch:
            order = rng.permutation(len(truths)).tolist()
        chosen, order = order[:batch], order[batch:]
        hidden = eyes.hidden(eyes.inputs([pictures[k] for k in chosen]))
        named = heads[0](hidden[:, cells].mean(dim=2))
        place = heads[1](hidden).flatten(1, 2)
        loss = F.cross_entropy(named.flatten(0, 1), classes[chosen].flatten())
        loss = loss + 0.3 * F.cross_entropy(
            place.flatten(0, 1), kinds[chosen][:, None].expand(-1, place.shape[1]).flatten()
        )
        for head, place in ((heads[2], rows), (heads[3], columns)):
            told = head(hidden[:, cells]).flatten(1, 2)
            loss = loss + 0.3 * F.cross_entropy(told.flatten(0, 1), place.repeat(batch))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(tower, 1.0)
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
