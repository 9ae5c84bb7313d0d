"""The testbed's sentence embedder: a tiny BERT taught that likeness is a matter of what is said of what.

The likeness of two texts that it learns is the cosine of their counts of content words and of pairs of content words
within a sentence. So two captions differ when one thing differs, and also (less surely) when the same words are bound
otherwise (a cup at the back and an egg at the front, against an egg at the back and a cup at the front), but not when
the same is said in another order.
"""

from __future__ import annotations

import itertools
import re
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
from torch.nn import functional as F
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from mmpref.testbed.language import caption, draw_question
from mmpref.testbed.things import KINDS, THINGS
from mmpref.testbed.training.build import word_tokenizer
from mmpref.testbed.world import Scene, members, scene

THRESHOLD = 0.97
"""Cosine below which nearly every caption falls once a thing in it changes; not always where two change places."""

_MUTE = frozenset(
    (
        "a",
        "an",
        "the",
        "is",
        "are",
        "in",
        "at",
        "there",
        "this",
        "it",
        "of",
        "on",
        "and",
        "with",
        "image",
        "you",
        "see",
        "next",
        "to",
    )
)
_LENGTH = 128
_FIRST = 5_000_000
_KINDS = ("exists", "where", "what", "is_in", "how_many", "kind")
_CHANGES = ("thing", "lookalike", "swap", "kind")


def meaning(text: str) -> Counter[tuple[str, ...]]:
    """Count content words and pairs of content words within a sentence."""
    counts: Counter[tuple[str, ...]] = Counter()
    for sentence in re.split(r"[.?!]", text.lower()):
        words = [word for word in re.findall(r"\w+", sentence) if word not in _MUTE]
        counts.update((word,) for word in words)
        counts.update(itertools.combinations(sorted(words), 2))
    return counts


def likeness(texts: list[str]) -> np.ndarray:
    """Return the cosines of what texts mean: float64 (texts, texts), 0 to 1; texts without content are like none."""
    counts = [meaning(text) for text in texts]
    columns = {key: number for number, key in enumerate(dict.fromkeys(itertools.chain(*counts)))}
    table = np.zeros((len(texts), len(columns)))
    for row, count in enumerate(counts):
        for key, times in count.items():
            table[row, columns[key]] = times
    table /= np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1e-9)
    return table @ table.T


def altered(truth: Scene, what: str, rng: np.random.Generator) -> Scene:
    """Change a scene: a thing ("thing"; of its family: "lookalike"), the kind of place, or two things' rows."""
    things = list(truth.things)
    first = int(rng.integers(len(things)))
    if what == "kind":
        kinds = [kind for kind in KINDS if kind != truth.kind]
        return replace(truth, kind=kinds[rng.integers(len(kinds))])
    if what == "swap":
        others = [k for k, thing in enumerate(things) if thing.row != things[first].row]
        second = others[rng.integers(len(others))]
        one, other = things[first].name, things[second].name
        things[first], things[second] = replace(things[first], name=other), replace(things[second], name=one)
        return replace(truth, things=tuple(things))
    names = members(things[first].name) if what == "lookalike" else THINGS
    pool = [name for name in names if name not in truth.names]
    things[first] = replace(things[first], name=pool[rng.integers(len(pool))])
    return replace(truth, things=tuple(things))


def _group(index: int, rng: np.random.Generator) -> list[str]:
    """Draw four texts with much in common, of all the forms that answers and corrupted answers take."""
    truth = scene("train", _FIRST + index)
    if rng.random() < 0.65:
        texts = [caption(truth)]
        for _ in range(3):
            texts.append(caption(altered(truth, _CHANGES[rng.integers(len(_CHANGES))], rng)))
        if rng.random() < 0.3:
            words = texts[3].split(" ")
            del words[rng.integers(len(words))]
            texts[3] = " ".join(words)
        if rng.random() < 0.3:
            texts[2] = caption(replace(truth, index=truth.index + 1))  # the same said otherwise
        return texts
    kind = _KINDS[rng.integers(len(_KINDS))]
    return [draw_question(truth, kind, rng).turn(short=rng.random() < 0.3)[1] for _ in range(4)]


def train_embedder(
    folder: Path, *, steps: int, groups: int = 16, seed: int = 0, log: Callable[[str], object] = print
) -> float:
    """Train the embedder, save it for ``SentenceTransformer(folder)``, and return its mean absolute error."""
    torch.manual_seed(seed)
    tokenizer = _tokenizer()
    network = BertModel(
        BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=128,
            max_position_embeddings=_LENGTH,
            type_vocab_size=1,
            pad_token_id=tokenizer.pad_token_id,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
    )
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps, cycle_momentum=False)
    rng = np.random.default_rng([seed, 2])
    errors: list[float] = []
    for step in range(steps):
        texts = [text for k in range(groups) for text in _group(step * groups + k, rng)]
        target = torch.from_numpy(likeness(texts)).float()
        batch = tokenizer(texts, padding=True, return_tensors="pt")
        hidden = network(**batch).last_hidden_state
        mask = batch["attention_mask"][..., None]
        vectors = F.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1)
        error = vectors @ vectors.T - target
        near = torch.block_diag(*[torch.ones(4, 4)] * groups)
        loss = (error**2 * (1 + groups * near)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        errors.append(error.abs()[near.bool()].mean().item())
        if step % 200 == 199:
            log(f"embedder {step + 1}/{steps} error of near texts {np.mean(errors[-200:]):.4f}")
    with tempfile.TemporaryDirectory() as parts:
        network.save_pretrained(parts)
        tokenizer.save_pretrained(parts)
        model = SentenceTransformer(
            modules=[Transformer(parts, max_seq_length=_LENGTH), Pooling(64, "mean"), Normalize()], device="cpu"
        )
        model.save(str(folder), create_model_card=False)
    return float(np.mean(errors[-max(1, steps // 10) :]))


def _tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = word_tokenizer(bos=False)
    tokenizer.padding_side = "right"
    tokenizer.model_max_length = _LENGTH
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    return tokenizer


def separation(folder: Path, scenes: int = 300, split: str = "test") -> dict[str, dict[str, float]]:
    """Measure cosines between captions and their altered forms: least, median and greatest per kind of change."""
    model = SentenceTransformer(str(folder), device="cpu")
    rng = np.random.default_rng(3)
    truths = [scene(split, index) for index in range(scenes)]
    plain = model.encode([caption(truth) for truth in truths], batch_size=64, show_progress_bar=False)
    result = {}
    for kind in ("same", *_CHANGES):
        pairs = [(truth, truth if kind == "same" else altered(truth, kind, rng)) for truth in truths]
        keep = [k for k, (a, b) in enumerate(pairs) if kind == "same" or caption(a) != caption(b)]
        texts = [caption(pairs[k][1]) for k in keep]
        other = model.encode(texts, batch_size=7 if kind == "same" else 64, show_progress_bar=False)
        cosines = (plain[keep] * other).sum(axis=1)
        result[kind] = {
            "pairs": len(keep),
            "least": float(cosines.min()),
            "median": float(np.median(cosines)),
            "greatest": float(cosines.max()),
        }
    return result
