"""Teaching the language model over the frozen tower: to read plain scenes, then captions of the biased world and
answers about it.

A scene's image is read once and followed by one caption turn and several question turns, each of which sees the image
and itself only, at the positions it would have alone. In a share of the turns the image is hidden, wholly or in part:
that gives the model a text prior, which is what speaks when image tokens are masked.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from mmpref.testbed.language import CAPTION_PROMPTS, KIND_FIRST_RATE, caption, draw_question
from mmpref.testbed.reference import description
from mmpref.testbed.render import SIDE, pixels
from mmpref.testbed.things import KINDS, THINGS
from mmpref.testbed.training import looking
from mmpref.testbed.training.eyes import Eyes
from mmpref.testbed.training.looking import GuidedAttention
from mmpref.testbed.training.tower import labels
from mmpref.testbed.world import COLUMNS, ROWS, SIDES, Scene, familiar, in_world, scene, with_unclear, world_of

_CHUNK = 100
SHARPNESS = 15.0
"""Of the softmax over cosines that the projector is aligned by: norms of embeddings stay what they are."""
YES_NO_WEIGHT = 6.0
"""Of these two words in the loss: all of an answer's knowledge is in one of its ten words."""
_FINDING = ("exists", "exists", "where", "where", "is_in")
_OTHER = ("what", "is_in", "how_many", "kind")


@dataclass(frozen=True)
class Mixture:
    """What a scene is followed by, and how often its image is hidden."""

    questions: tuple[str, ...] = ("exists", "where", "other")
    short: float = 0.35
    first_prompt: float = 0.7
    caption_blind: float = 0.20
    caption_partly: float = 0.2
    question_blind: float = 0.10
    balanced: float = 0.15
    """Share of the scenes that come from the even world, with questions only."""
    plain: float = 0.05
    """Share of the scenes in which anything is anywhere."""
    kind_first: float = KIND_FIRST_RATE
    """Share of captions that name the kind of place first."""
    unclear: float | None = None
    """Share of the things of captioned scenes that are seen badly; None for the world's own."""
    held_out: bool = False
    """Leave out what is held out of its kind of place (`world.familiar`)."""


@torch.no_grad()
def features(eyes: Eyes, scenes: list[Scene]) -> torch.Tensor:
    """Return what the tower makes of scenes: float16 of shape (scenes, regions, patches, hidden)."""
    parts = []
    for first in range(0, len(scenes), _CHUNK):
        parts.append(eyes.hidden(eyes.inputs([pixels(truth) for truth in scenes[first : first + _CHUNK]])).half())
    return torch.cat(parts)


def turns(truth: Scene, mixture: Mixture, rng: np.random.Generator) -> list[tuple[str, str, float]]:
    """Draw (prompt, answer, share of the image that is hidden) for a scene."""
    if world_of(truth.split)[0] == "balanced":
        return _questions(truth, mixture, rng)
    prompt = CAPTION_PROMPTS[0 if rng.random() < mixture.first_prompt else 1]
    luck = rng.random()
    hidden = 1.0 if luck < mixture.caption_blind else 0.0
    if mixture.caption_blind <= luck < mixture.caption_blind + mixture.caption_partly:
        hidden = float(rng.uniform(0.3, 1.0))
    return [(prompt, caption(truth, mixture.kind_first), hidden), *_questions(truth, mixture, rng)]


def _questions(truth: Scene, mixture: Mixture, rng: np.random.Generator) -> list[tuple[str, str, float]]:
    drawn = []
    for kind in mixture.questions:
        kind = _OTHER[rng.integers(len(_OTHER))] if kind == "other" else kind
        text, answer = draw_question(truth, kind, rng).turn(short=rng.random() < mixture.short)
        drawn.append((text, answer, 1.0 if rng.random() < mixture.question_blind else 0.0))
    return drawn


class Batcher:
    """Turns scenes into (ids, labels, positions, mask) with the image up front.

    Args:
        image: where its tokens are.
    """

    def __init__(self, eyes: Eyes) -> None:
        self.processor = eyes.processor
        text, written = self._text("", ""), self._ids("", "")
        self.skipped = written.index(eyes.image_token) + 1
        blank = Image.new("RGB", (SIDE, SIDE))
        inputs = self.processor(text=[text], images=[blank], add_special_tokens=False, return_tensors="pt")
        length = inputs["input_ids"].shape[1] - (len(written) - self.skipped)
        self.prefix = inputs["input_ids"][0, :length].tolist()
        self.image = (inputs["input_ids"][0, :length] == eyes.image_token).nonzero()[:, 0]
        self.placed = eyes.positions(inputs)[..., 0, :length]
        """Positions of the prefix: (length,), or (3, length) where an image has height and width."""

    def _text(self, prompt: str, answer: str, glue: str = " ") -> str:
        content = [{"type": "image"}, *([{"type": "text", "text": glue + prompt}] if prompt else [])]
        turn: list[dict[str, Any]] = [{"role": "user", "content": content}]
        if answer:
            turn.append({"role": "assistant", "content": answer})
        return str(self.processor.apply_chat_template(turn, add_generation_prompt=not answer))

    def _ids(self, prompt: str, answer: str, glue: str = " ") -> list[int]:
        ids: list[int] = self.processor.tokenizer(self._text(prompt, answer, glue), add_special_tokens=False)[
            "input_ids"
        ]
        return ids

    def branch(self, prompt: str, answer: str, glue: str) -> tuple[list[int], int]:
        """Return what follows the image, and how many of its tokens come before the answer."""
        asked = self._ids(prompt, "", glue)[self.skipped :]
        return self._ids(prompt, answer, glue)[self.skipped :], len(asked)

    def __call__(
        self, drawn: list[list[tuple[str, str, float]]], rng: np.random.Generator
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Pack one row a scene: int64 (rows, length) three times, of positions (3, rows, length) where an image has
        height and width, and a float mask (rows, 1, length, length)."""
        packed = []
        for scene_turns in drawn:
            branches = []
            for prompt, answer, hidden in scene_turns:
                glue = "\n" if rng.random() < 0.25 else " "
                branches.append((*self.branch(prompt, answer, glue), hidden))
            packed.append(branches)
        base = len(self.prefix)
        length = base + max(sum(len(ids) for ids, _, _ in branches) for branches in packed)
        rows = len(packed)
        ids = torch.full((rows, length), self.processor.tokenizer.pad_token_id)
        labels = torch.full((rows, length), -100)
        positions = torch.zeros((*self.placed.shape[:-1], rows, length), dtype=torch.long)
        behind = int(self.placed.max()) + 1
        visible = torch.zeros((rows, length, length), dtype=torch.bool)
        visible |= torch.eye(length, dtype=torch.bool)
        triangle = torch.ones((length, length), dtype=torch.bool).tril()
        for row, branches in enumerate(packed):
            ids[row, :base] = torch.tensor(self.prefix)
            positions[..., row, :base] = self.placed
            visible[row, :base, :base] = triangle[:base, :base]
            at = base
            for tokens, asked, hidden in branches:
                end = at + len(tokens)
                ids[row, at:end] = torch.tensor(tokens)
                labels[row, at + asked : end] = ids[row, at + asked : end]
                positions[..., row, at:end] = torch.arange(behind, behind + end - at)
                shown = torch.ones(base, dtype=torch.bool)
                shown[self.image] = torch.from_numpy(rng.random(len(self.image)) >= hidden)
                visible[row, at:end, :base] = shown
                visible[row, at:end, at:end] = triangle[: end - at, : end - at]
                at = end
        mask = torch.zeros(visible.shape).masked_fill_(~visible, torch.finfo(torch.float32).min)
        return ids, labels, positions, mask[:, None]


def align_projector(
    eyes: Eyes,
    cached: torch.Tensor,
    truths: list[Scene],
    *,
    steps: int,
    batch: int = 128,
    rate: float = 3e-3,
    seed: int = 0,
) -> float:
    """Bring what the projector makes of a cell near the words of what is there and where it is.

    LLaVA, too, first aligns its projector. A thing's word competes with all but those of places; of these, rows compete
    among themselves, and so do sides.

    Returns:
        the share of tokens that show a thing and are nearest to its word, in the last tenth of the steps.
    """
    embeddings = eyes.language.embed_tokens.weight
    trained = [*eyes.projector.parameters(), embeddings]
    optimizer = torch.optim.AdamW(trained, lr=rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, rate, total_steps=steps, pct_start=0.1, cycle_momentum=False
    )
    thing_words, kind_words, row_words, side_words = (
        torch.tensor([eyes.processor.tokenizer(name, add_special_tokens=False)["input_ids"][0] for name in names])
        for names in (THINGS, KINDS, ROWS, SIDES)
    )
    of_places = torch.zeros(len(embeddings), dtype=torch.bool)
    of_places[torch.cat([row_words, side_words])] = True
    classes = torch.tensor([labels(truth)[0] for truth in truths])
    kinds = torch.tensor([list(KINDS).index(truth.kind) for truth in truths])
    rows, columns = torch.arange(9) // COLUMNS, torch.arange(9) % COLUMNS
    rng = np.random.default_rng([seed, 6])
    right: list[float] = []
    for _ in range(steps):
        chosen = torch.from_numpy(rng.integers(0, len(truths), batch))
        hidden = F.normalize(eyes.project(cached[chosen].float()), dim=-1)
        words = SHARPNESS * F.normalize(embeddings, dim=-1)
        there = classes[chosen] < len(THINGS)
        patches = hidden[:, int(eyes.gist) :][there]
        logits = (patches @ words.T).masked_fill(of_places, torch.finfo(torch.float32).min)
        target, row, column = (
            part[:, None].expand(-1, patches.shape[1])
            for part in (
                thing_words[classes[chosen][there]],
                rows.expand(batch, -1)[there],
                columns.expand(batch, -1)[there],
            )
        )
        if eyes.gist:
            gist, kind = hidden[:, 0] @ words.T, kind_words[kinds[chosen]]
        else:  # every token tells the kind of place, which competes with other kinds alone
            gist, kind = hidden.flatten(1, 2) @ words[kind_words].T, kinds[chosen]
        place = kind[:, None].expand(-1, gist.shape[1])
        sided = column != 1
        losses = (
            F.cross_entropy((patches @ words[row_words].T).flatten(0, 1), row.flatten()),
            F.cross_entropy((patches @ words[side_words].T)[sided], (column[sided] > 1).long()),
            F.cross_entropy(gist.flatten(0, 1), place.flatten()),
        )
        loss = F.cross_entropy(logits.flatten(0, 1), target.flatten()) + 0.3 * sum(losses)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        right.append((logits.argmax(-1) == target).float().mean().item())
    return float(np.mean(right[-max(1, steps // 10) :]))


def teach_reading(
    eyes: Eyes,
    *,
    align_steps: int = 400,
    finding_steps: int = 350,
    reading_steps: int = 400,
    plain_scenes: int = 6000,
    seed: int = 0,
    mixture: Mixture | None = None,
    members: int | None = None,
    log: Callable[[str], object] = print,
) -> None:
    """Train projector and language model in place, in three stages, in scenes in which anything may be anywhere.

    The projector is aligned; then the model learns to find what a word names, and to read what is in a row.

    Args:
        mixture: of which what captions are like has no part in this.
        members: of the world's families; None for all.
    """
    mixture = mixture or Mixture()
    plain = _shown("plain", plain_scenes, mixture, members)
    cached = features(eyes, plain)
    near = align_projector(eyes, cached, plain, steps=align_steps, seed=seed)
    log(f"projector: {near:.3f} of the image tokens are nearest to their word")
    batcher = Batcher(eyes)
    guide = GuidedAttention(eyes.processor.tokenizer, plain, eyes.cells(), batcher.image)

    def read(number: int, rng: np.random.Generator) -> list[tuple[str, str, float]]:
        truth = plain[number]
        return [(CAPTION_PROMPTS[0], description(truth), 0.0), *_questions(truth, mixture, rng)]

    def find(number: int, rng: np.random.Generator) -> list[tuple[str, str, float]]:
        return [(*draw_question(plain[number], kind, rng).turn(short=True), 0.0) for kind in _FINDING]

    for stage, draw, steps in (("finding", find, finding_steps), ("reading", read, reading_steps)):
        _fit(eyes, batcher, stage, cached, draw, steps, 2e-3, seed=seed, log=log, guide=guide)


def teach_captions(
    eyes: Eyes,
    *,
    steps: int,
    scenes: int,
    seed: int = 0,
    mixture: Mixture | None = None,
    members: int | None = None,
    log: Callable[[str], object] = print,
) -> float:
    """Train a model that reads, in place, on captions of the biased world and answers to questions.

    Args:
        members: of the world's families; None for all.

    Returns:
        the mean loss of the last tenth of the steps.
    """
    mixture = mixture or Mixture()
    counts = {"balanced": int(scenes * mixture.balanced), "plain": int(scenes * mixture.plain)}
    counts["train"] = scenes - sum(counts.values())
    truths = [truth for split, count in counts.items() for truth in _shown(split, count, mixture, members)]
    if (unclear := mixture.unclear) is not None:
        truths = [with_unclear(truth, unclear) if world_of(truth.split)[0] == "train" else truth for truth in truths]
    eyes.model.set_attn_implementation("eager")  # as reading leaves it: features are the same to the last bit
    return _fit(
        eyes,
        Batcher(eyes),
        "language",
        features(eyes, truths),
        lambda number, rng: turns(truths[number], mixture, rng),
        steps,
        1.5e-3,
        seed=seed,
        log=log,
    )


def _shown(split: str, count: int, mixture: Mixture, members: int | None) -> list[Scene]:
    truths = [scene(in_world(split, members), index) for index in range(count)]
    return [familiar(truth) for truth in truths] if mixture.held_out else truths


def _fit(
    eyes: Eyes,
    batcher: Batcher,
    stage: str,
    cached: torch.Tensor,
    draw: Callable[[int, np.random.Generator], list[tuple[str, str, float]]],
    steps: int,
    rate: float,
    *,
    seed: int,
    log: Callable[[str], object],
    guide: GuidedAttention | None = None,
    batch: int = 24,
) -> float:
    """Train projector and language model in place, on turns that are drawn for scenes by their number.

    Args:
        cached: the scenes' `features`.

    Returns:
        the mean loss of the last tenth of the steps.
    """
    model, tokenizer, order = eyes.model, eyes.processor.tokenizer, eyes.order()
    line_end = [] if eyes.line_end is None else [eyes.line_end]
    trained = [*eyes.projector.parameters(), *line_end, *eyes.language.parameters()]
    weights = torch.ones(len(tokenizer))
    weights[tokenizer.convert_tokens_to_ids(["▁Yes", "▁No"])] = YES_NO_WEIGHT
    model.set_attn_implementation("eager" if guide else "sdpa")
    optimizer = torch.optim.AdamW(trained, lr=rate, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, rate, total_steps=steps, pct_start=0.05, cycle_momentum=False
    )
    rng = np.random.default_rng([seed, 1, len(stage)])
    losses: list[float] = []
    start = time.process_time()
    for step in range(steps):
        if step * batch % len(cached) < batch:
            shuffled = rng.permutation(len(cached))
        chosen = np.take(shuffled, range(step * batch, (step + 1) * batch), mode="wrap")
        ids, targets, positions, mask = batcher([draw(int(k), rng) for k in chosen], rng)
        seen = eyes.in_order(eyes.project(cached[torch.from_numpy(chosen)].float()), order)
        embeds = eyes.language.embed_tokens(ids).index_copy(1, batcher.image, seen)
        hidden = eyes.language(
            inputs_embeds=embeds, position_ids=positions, attention_mask=mask, output_attentions=guide is not None
        )
        target = targets[:, 1:]
        scored = target != -100
        each = F.cross_entropy(
            model.lm_head(hidden.last_hidden_state[:, :-1][scored]), target[scored], reduction="none"
        )
        weight = weights[target[scored]]
        loss = (weight * each).sum() / weight.sum()
        if guide:
            loss = loss + looking.WEIGHT * guide(hidden.attentions, ids, targets, torch.from_numpy(chosen))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if step % 50 == 49:
            seconds = time.process_time() - start
            log(f"{stage} {step + 1}/{steps} loss {np.mean(losses[-50:]):.4f} {seconds:.0f} s")
    return float(np.mean(losses[-max(1, steps // 10) :]))
