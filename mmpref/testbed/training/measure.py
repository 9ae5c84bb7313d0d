"""What the trained model does on scenes that it has not seen: caption recall, CHAIR and POPE by greedy decoding."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from mmpref.testbed.language import CAPTION_PROMPTS
from mmpref.testbed.oracle import is_caption, judge, scene_of
from mmpref.testbed.render import image
from mmpref.testbed.tables import testbed_chair, testbed_pope, testbed_several_chair
from mmpref.testbed.tables.testbed_several import two
from mmpref.testbed.things import FAMILY_OF
from mmpref.testbed.training.eyes import Eyes
from mmpref.testbed.world import Scene, scene

_OF_TOKENS = ("input_ids", "attention_mask", "mm_token_type_ids")


@torch.no_grad()
def answers(
    model: Any,
    processor: Any,
    asked: list[tuple[tuple[Scene, ...], str]],
    batch: int = 100,
    tokens: int = 64,
) -> list[str]:
    """Answer (scenes, prompt) pairs greedily, each about the pictures of its scenes in their order."""
    replies: list[str] = []
    for first in range(0, len(asked), batch):
        part = asked[first : first + batch]
        texts = [
            processor.apply_chat_template(
                [{"role": "user", "content": [*[{"type": "image"}] * len(shown), {"type": "text", "text": prompt}]}],
                add_generation_prompt=True,
            )
            for shown, prompt in part
        ]
        pictures = [[image(truth) for truth in shown] for shown, _ in part]
        inputs = processor(text=texts, images=pictures, return_tensors="pt", padding=True)
        output = model.generate(**inputs, do_sample=False, max_new_tokens=tokens)
        tails = output[:, inputs["input_ids"].shape[1] :]
        replies += processor.batch_decode(tails, skip_special_tokens=True)
    return replies


def captions(model: Any, processor: Any, split: str, limit: int | None = None) -> dict[str, float]:
    """Measure captions of a split: recall, CHAIR, mentions, and how many hallucinations are the prior's doing.

    ``typical_share`` is of the hallucinations: usual at the place, and not there; ``lookalike_share``: of the family of
    something that is there.
    """
    scenes = [scene(split, index) for index in range(min(limit or 10**9, testbed_chair.SIZES[split]))]
    return _figures(answers(model, processor, [((truth,), CAPTION_PROMPTS[0]) for truth in scenes]), scenes)


def captions_of_two(model: Any, processor: Any, split: str, limit: int | None = None) -> dict[str, float]:
    """The same of the captions of one of two pictures (``testbed-several-chair``)."""
    asked = [two(split, index) for index in range(min(limit or 10**9, testbed_several_chair.SIZES[split]))]
    texts = answers(model, processor, [(one.shown, one.prompt) for one in asked])
    return _figures(texts, [one.about for one in asked])


def _figures(texts: list[str], scenes: list[Scene]) -> dict[str, float]:
    verdicts = [judge(text, truth) for text, truth in zip(texts, scenes, strict=True)]
    mentioned = sum(len(verdict.mentioned) for verdict in verdicts)
    wrong = [(name, truth) for verdict, truth in zip(verdicts, scenes, strict=True) for name in verdict.hallucinated]
    things = sum(len(truth.things) for truth in scenes)
    missed = sum(len(verdict.missed) for verdict in verdicts)
    typical = sum(name in truth.usual for name, truth in wrong)
    lookalikes = sum(FAMILY_OF[name] in {FAMILY_OF[there] for there in truth.names} for name, truth in wrong)
    return {
        "captions": len(scenes),
        "recall": 1 - missed / things,
        "chair_i": len(wrong) / max(1, mentioned),
        "chair_s": sum(bool(verdict.hallucinated) for verdict in verdicts) / len(scenes),
        "mentions": mentioned / len(scenes),
        "typical_share": typical / max(1, len(wrong)),
        "lookalike_share": lookalikes / max(1, len(wrong)),
        "false_claims": sum(len(verdict.false_claims) for verdict in verdicts) / max(1, mentioned),
    }


def yes_no(model: Any, processor: Any, split: str, images: int | None = None) -> dict[str, dict[str, float]]:
    """Measure POPE per category by the original rule: accuracy and the share of answers that say yes."""
    asked: dict[str, list[tuple[Scene, str, str]]] = {}
    for row in _questions(split, images):
        asked.setdefault(row["category"], []).append((scene_of(row["image_source"]), row["question"], row["answer"]))
    results = {}
    for category, rows in asked.items():
        replies = answers(model, processor, [((truth,), question) for truth, question, _ in rows], tokens=16)
        said = ["no" if _says_no(reply) else "yes" for reply in replies]
        right = sum(answer == truth for answer, (_, _, truth) in zip(said, rows, strict=True))
        results[category] = {
            "questions": len(rows),
            "accuracy": right / len(rows),
            "yes_rate": said.count("yes") / len(rows),
        }
    return results


@torch.no_grad()
def blind(eyes: Eyes, split: str, limit: int) -> dict[str, float]:
    """Sample captions with every image token hidden: how many are fluent, and how many distinct ones there are.

    Image tokens are left out of the attention mask; all other tokens keep their positions.
    """
    model, processor = eyes.model, eyes.processor
    prompt = processor.apply_chat_template(
        [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": CAPTION_PROMPTS[0]}]}],
        add_generation_prompt=True,
    )
    pictures = [image(scene(split, index)) for index in range(limit)]
    inputs = processor(text=[prompt] * limit, images=pictures, return_tensors="pt")
    ids, positions = inputs["input_ids"], eyes.positions(inputs)
    shown = {name: value for name, value in inputs.items() if name not in _OF_TOKENS}
    allowed = torch.where(ids == eyes.image_token, 0, 1)
    generator = torch.Generator().manual_seed(0)
    for _ in range(64):
        logits = model(input_ids=ids, attention_mask=allowed, position_ids=positions, **shown).logits
        drawn = torch.multinomial(logits[:, -1].softmax(-1), 1, generator=generator)
        ids = torch.cat([ids, drawn], dim=1)
        allowed = torch.cat([allowed, torch.ones_like(drawn)], dim=1)
        positions = torch.cat([positions, positions[..., -1:] + 1], dim=-1)
        if (ids[:, inputs["input_ids"].shape[1] :] == model.config.text_config.eos_token_id).any(dim=1).all():
            break
    end = processor.tokenizer.eos_token
    texts = [text.split(end)[0] for text in processor.batch_decode(ids[:, inputs["input_ids"].shape[1] :])]
    return {
        "captions": limit,
        "fluent": sum(is_caption(text) for text in texts) / limit,
        "distinct": len(set(texts)) / limit,
    }


def _questions(split: str, images: int | None) -> Iterable[dict]:
    for row in testbed_pope.rows(split):
        if images is None or scene_of(row["image_source"]).index < images:
            yield row


def _says_no(reply: str) -> bool:
    words = reply.split(".")[0].replace(",", "").split(" ")
    return any(word in ("No", "no", "not") for word in words)
