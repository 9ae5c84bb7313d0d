"""Eyes for a language model: the testbed's trained tower and a projector, taught in LLaVA's two stages.

The projector is first brought near the words of what a patch shows; then it learns from captions and answers about the
everyday scenes while the language model stays as it is, then both do, the language model by a light LoRA. What was
learned is kept every minute, and steps are drawn by their number, so that an interrupted run goes on where it was.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from transformers import GenerationConfig, LlavaNextConfig, LlavaNextForConditionalGeneration, LlavaNextProcessor

from mmpref.registry import resolve_path
from mmpref.testbed.things import KINDS, THINGS
from mmpref.testbed.training import build
from mmpref.testbed.training.eyes import LlavaNextEyes
from mmpref.testbed.training.language import Batcher, Mixture, features, turns
from mmpref.testbed.training.tower import labels
from mmpref.testbed.world import Scene, scene

SHARPNESS = 15.0
KEEP_EVERY = 60.0
"""Seconds."""
YES_NO_WEIGHT = 6.0
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
Say = Callable[[str], object]


@dataclass(frozen=True)
class Lengths:
    """How long each stage lasts, in steps, and on how many scenes.

    Args:
        align: of the projector to words, which the language model takes no part in.
        projector, language: LLaVA's two stages.
        scenes: that are captioned.
        batch: scenes a step, in the two stages.
    """

    align: int = 600
    projector: int = 150
    language: int = 1350
    scenes: int = 4000
    batch: int = 2


def with_eyes(
    language: Any, tokenizer: Any, seed: int = 0
) -> tuple[LlavaNextForConditionalGeneration, LlavaNextProcessor]:
    """A LLaVA-NeXT of a text model, and the testbed's tower; the projector is untrained."""
    own = LlavaNextForConditionalGeneration.from_pretrained(
        resolve_path("pkg:mmpref.testbed/model"), dtype=torch.float32
    )
    image = tokenizer.convert_tokens_to_ids("<image>")
    config = LlavaNextConfig(
        vision_config=own.config.vision_config,
        text_config=language.config,
        image_token_index=image,
        vision_feature_layer=own.config.vision_feature_layer,
        vision_feature_select_strategy=own.config.vision_feature_select_strategy,
        image_grid_pinpoints=own.config.image_grid_pinpoints,
        image_seq_length=build.IMAGE_TOKENS,
        tie_word_embeddings=True,
    )
    torch.manual_seed(seed)
    model = LlavaNextForConditionalGeneration(config)
    model.model.vision_tower.load_state_dict(own.model.vision_tower.state_dict())
    model.model.language_model.load_state_dict(language.model.state_dict())
    model.tie_weights()
    model.requires_grad_(False)
    ids = {name: getattr(language.config, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    model.generation_config = GenerationConfig(**ids)
    processor = build.processor()
    processor = LlavaNextProcessor(
        image_processor=processor.image_processor,
        tokenizer=tokenizer,
        patch_size=build.PATCH,
        vision_feature_select_strategy="default",
        chat_template=build.CHAT_TEMPLATE,
        num_additional_image_tokens=1,
    )
    return model.eval(), processor


def teach(
    model: LlavaNextForConditionalGeneration,
    processor: LlavaNextProcessor,
    folder: Path,
    lengths: Lengths,
    *,
    seed: int = 0,
    say: Say = print,
) -> LlavaNextForConditionalGeneration:
    """Teach it to see, going on where it was.

    Args:
        folder: for what is learned so far.
    """
    from peft import LoraConfig, get_peft_model

    folder.mkdir(parents=True, exist_ok=True)
    core = model.model
    truths = [scene("train", index) for index in range(lengths.scenes)]
    cached = _once(folder / "features.pt", lambda: features(LlavaNextEyes(model, processor), truths))
    projector = core.multi_modal_projector
    state = _once(folder / "aligned.pt", lambda: _aligned(model, processor, cached, truths, lengths.align, seed, say))
    projector.load_state_dict(state)
    _fill(core.image_newline, core.language_model.embed_tokens)
    stages = _Stages(model, processor, folder, cached, truths, lengths.batch, seed, say)
    eyes = [*projector.parameters(), core.image_newline]
    stages.fit("projector", eyes, lengths.projector, 1e-3)
    torch.manual_seed(seed)
    adapted = get_peft_model(core.language_model, LoraConfig(r=16, lora_alpha=32, target_modules=TARGETS))
    lora = [parameter for parameter in adapted.parameters() if parameter.requires_grad]
    stages.fit("language", [*eyes, *lora], lengths.language, 2e-4)
    core.language_model = adapted.merge_and_unload()
    return model.eval()


def _once(path: Path, make: Callable[[], Any]) -> Any:
    """What a file holds, or what is made now and kept there."""
    if not path.is_file():
        _keep(make(), path)
    return torch.load(path, weights_only=True)


def _keep(value: Any, path: Path) -> None:
    unfinished = path.with_suffix(".part")
    torch.save(value, unfinished)
    unfinished.rename(path)


@torch.no_grad()
def _fill(newline: nn.Parameter, embeddings: nn.Module) -> None:
    newline.copy_(embeddings(torch.arange(embeddings.num_embeddings)).mean(0))


def _aligned(
    model: LlavaNextForConditionalGeneration,
    processor: LlavaNextProcessor,
    cached: torch.Tensor,
    truths: Sequence[Scene],
    steps: int,
    seed: int,
    say: Say,
) -> dict[str, torch.Tensor]:
    """The projector's weights when a tile's patches are near the word of what it shows, and those of the whole picture
    near its kind of place; as long as words are to the language model."""
    core = model.model
    words = torch.cat([_words(core, processor, THINGS), _words(core, processor, KINDS)])
    length, directions = words.norm(dim=-1).mean(), F.normalize(words, dim=-1)
    classes = torch.tensor([labels(truth)[0] for truth in truths])
    kinds = torch.tensor([len(THINGS) + list(KINDS).index(truth.kind) for truth in truths])
    projector = core.multi_modal_projector.requires_grad_(True)
    optimizer = torch.optim.AdamW(projector.parameters(), lr=3e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=max(2, steps), cycle_momentum=False)
    rng, right, long = np.random.default_rng([seed, 6]), [], torch.ones(())
    for _ in range(steps):
        chosen = torch.from_numpy(rng.integers(0, len(truths), 64))
        seen = projector(cached[chosen].float())
        there = classes[chosen] < len(THINGS)
        patches, gist = seen[:, 1:][there], seen[:, 0]
        logits = SHARPNESS * F.normalize(patches, dim=-1) @ directions.T
        target = classes[chosen][there][:, None].expand(-1, patches.shape[1])
        place = SHARPNESS * F.normalize(gist, dim=-1) @ directions.T
        loss = F.cross_entropy(logits.flatten(0, 1), target.flatten())
        loss = loss + 0.3 * F.cross_entropy(place.flatten(0, 1), kinds[chosen].repeat_interleave(gist.shape[1]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        right.append((logits.argmax(-1) == target).float().mean().item())
        long = patches.norm(dim=-1).mean().detach()
    with torch.no_grad():
        for parameter in projector.linear_2.parameters():
            parameter *= length / long
    say(f"projector: {np.mean(right[-max(1, steps // 10) :] or [0]):.3f} of the patches are nearest to their word")
    return projector.state_dict()


@torch.no_grad()
def _words(core: Any, processor: LlavaNextProcessor, names: Sequence[str]) -> torch.Tensor:
    """float32 (names, hidden), as the language model gets them; of a word of several tokens the mean."""
    tokenizer = processor.tokenizer
    ids = (tokenizer(f" {name}", add_special_tokens=False, return_tensors="pt")["input_ids"][0] for name in names)
    return torch.stack([core.language_model.embed_tokens(one).mean(0) for one in ids])


class _Stages:
    """Training on captions and answers, over the frozen tower's features."""

    def __init__(
        self,
        model: LlavaNextForConditionalGeneration,
        processor: LlavaNextProcessor,
        folder: Path,
        cached: torch.Tensor,
        truths: Sequence[Scene],
        batch: int,
        seed: int,
        say: Say,
    ) -> None:
        self.model, self.folder, self.cached, self.truths = model, folder, cached, truths
        self.batch, self.seed, self.say = batch, seed, say
        self.eyes = LlavaNextEyes(model, processor)
        self.order, self.batcher = self.eyes.order(), Batcher(self.eyes)
        self.mixture = Mixture(questions=("exists", "where"))
        tokenizer = processor.tokenizer
        self.weights = torch.ones(len(tokenizer))
        for word in (" Yes", " No"):
            self.weights[tokenizer(word, add_special_tokens=False)["input_ids"][0]] = YES_NO_WEIGHT

    def fit(self, stage: str, trained: Sequence[nn.Parameter], steps: int, rate: float) -> None:
        """Train some parameters in place."""
        for parameter in trained:
            parameter.requires_grad_(True)
        optimizer = torch.optim.AdamW(trained, lr=rate, betas=(0.9, 0.98), weight_decay=0.0)
        path, done = self.folder / f"{stage}.pt", 0
        if path.is_file():
            kept = torch.load(path, weights_only=True)
            done = kept["step"]
            optimizer.load_state_dict(kept["optimizer"])
            with torch.no_grad():
                for parameter, value in zip(trained, kept["trained"], strict=True):
                    parameter.copy_(value)
        losses, begun, kept_at = [], time.process_time(), time.monotonic()
        for step in range(done, steps):
            for group in optimizer.param_groups:
                group["lr"] = rate * min(1.0, (step + 1) / 20, 2 * (steps - step) / steps)
            loss = self._loss(np.random.default_rng([self.seed, len(stage), step]))
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            losses.append(loss.item())
            if time.monotonic() - kept_at > KEEP_EVERY or step + 1 == steps:
                values = [parameter.detach() for parameter in trained]
                _keep({"step": step + 1, "optimizer": optimizer.state_dict(), "trained": values}, path)
                kept_at, each = time.monotonic(), (time.process_time() - begun) / len(losses)
                self.say(f"{stage} {step + 1}/{steps}: loss {np.mean(losses[-25:]):.3f}, {each:.2f} CPU s a step")

    def _loss(self, rng: np.random.Generator) -> torch.Tensor:
        chosen = rng.integers(0, len(self.truths), self.batch)
        drawn = [turns(self.truths[number], self.mixture, rng) for number in chosen]
        ids, targets, positions, mask = self.batcher(drawn, rng)
        seen = self.eyes.in_order(self.eyes.project(self.cached[torch.from_numpy(chosen)].float()), self.order)
        embeds = self.eyes.language.embed_tokens(ids).index_copy(1, self.batcher.image, seen)
        hidden = self.eyes.language(
            inputs_embeds=embeds,
            position_ids=positions,
            attention_mask={"full_attention": mask, "sliding_attention": mask},  # no text is as long as its window
            use_cache=False,
        ).last_hidden_state
        target = targets[:, 1:]
        scored = target != -100
        logits = self.model.lm_head(hidden[:, :-1][scored])
        weight = self.weights[target[scored]]
        return (weight * F.cross_entropy(logits, target[scored], reduction="none")).sum() / weight.sum()
