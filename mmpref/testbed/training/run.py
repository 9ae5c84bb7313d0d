"""The whole training, seeded: tower, language model, embedder; then what they do on unseen scenes, as JSON."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import transformers

from mmpref.testbed.language import KIND_FIRST_RATE
from mmpref.testbed.tables import testbed_chair, testbed_pope
from mmpref.testbed.training import architectures, build, embedder, measure, readers
from mmpref.testbed.training.language import Mixture, teach_captions, teach_reading
from mmpref.testbed.training.tower import train_tower
from mmpref.testbed.world import in_world


@dataclass(frozen=True)
class Lengths:
    """How long each part trains, and how many scenes of a split it is measured on in the end (None: all)."""

    tower_steps: int = 900
    plain_scenes: int = 6000
    align_steps: int = 400
    finding_steps: int = 350
    reading_steps: int = 400
    language_steps: int = 1400
    language_scenes: int = 24000
    embedder_steps: int = 3000
    measured: int | None = None


def train(
    output: Path,
    *,
    seed: int = 0,
    size: str = "0.5M",
    architecture: str = architectures.LLAVA_NEXT,
    kind_first: float = KIND_FIRST_RATE,
    unclear: float | None = None,
    members: int | None = None,
    held_out: bool = False,
    with_embedder: bool = True,
    lengths: Lengths | None = None,
    keep: Path | None = None,
) -> dict:
    """Train everything in one thread, save ``output``/model and ``output``/embedder, and return what was measured.

    Equal seeds on equal machines and libraries give equal weights, from a reader that was kept too.

    Args:
        size: one of ``build.SIZES``.
        architecture: one of ``architectures.EYES``.
        kind_first: share of captions that name the kind of place first, so that what is usual there can be told from
            the text before; in the others it can be told from the image alone.
        unclear: share of the things of captioned scenes that are seen badly, which teaches to trust in what is usual;
            None for the world's own.
        members: of each family of look-alikes, which makes a world of fewer things (``world.MEMBERS``); None for all.
        held_out: no scene holds what is held out of its kind of place, so that all pairs of the split ``foreign`` are
            new (``world.familiar``).
        with_embedder: also train the embedder, which depends on the world's words alone.
        keep: folder of models that see and read, which bases that differ in ``kind_first`` and ``unclear`` alone share
            (`mmpref.testbed.training.readers`); None to keep none.
    """
    lengths = lengths or Lengths()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(seed)
    start = time.process_time()
    eyes = architectures.EYES[architecture](build.SIZES[size])
    model, processor = eyes.model, eyes.processor
    seconds: dict[str, float] = {}

    def lap(name: str) -> None:
        seconds[name] = round(time.process_time() - start - sum(seconds.values()), 1)
        print(f"{name}: {seconds[name]} CPU seconds", flush=True)

    mixture = Mixture(kind_first=kind_first, unclear=unclear, held_out=held_out)
    read = {name: getattr(lengths, name) for name in ("align_steps", "finding_steps", "reading_steps", "plain_scenes")}
    made_of = {"seed": seed, "size": size, "architecture": architecture, "members": members, "held_out": held_out}
    reader = readers.file_of(keep, **made_of, tower_steps=lengths.tower_steps, **read) if keep else None
    if (seen := readers.restore(model, reader) if reader else None) is None:
        seen = train_tower(eyes, steps=lengths.tower_steps, seed=seed, held_out=held_out, log=_say)
        lap("tower")
        teach_reading(eyes, **read, seed=seed, mixture=mixture, members=members, log=_say)
        lap("reading")
        if reader:
            readers.save(model, seen, reader)
    loss = teach_captions(
        eyes,
        steps=lengths.language_steps,
        scenes=lengths.language_scenes,
        seed=seed,
        mixture=mixture,
        members=members,
        log=_say,
    )
    lap("captions")
    model.eval()
    folder = output / "model"
    model.save_pretrained(folder)
    architectures.save_processor(processor, folder)
    splits = testbed_chair.WORLD if members is None else [in_world(split, members) for split in ("dev", "test")]
    limit = lengths.measured
    near = None
    if with_embedder:
        near = embedder.train_embedder(output / "embedder", steps=lengths.embedder_steps, seed=seed, log=_say)
        lap("embedder")
    for path in output.rglob("*.safetensors"):
        path.chmod(0o644)
    figures = {
        "seed": seed,
        "size": size,
        **({} if architecture == architectures.LLAVA_NEXT else {"architecture": architecture}),
        "kind_first": kind_first,
        "lengths": asdict(lengths),
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "tower_accuracy": seen,
        "language_loss": loss,
        "embedder_error": near,
        **({} if unclear is None else {"unclear": unclear}),
        **({} if members is None else {"members": members}),
        **({"held_out": True} if held_out else {}),
        **{split: {"captions": measure.captions(model, processor, split, limit)} for split in splits},
        "pope": {split: measure.yes_no(model, processor, split, limit) for split in testbed_pope.SPLITS if not members},
        "blind_test": measure.blind(eyes, in_world("test", members), min(limit or 100, 100)),
    }
    if with_embedder:
        figures["embedder_cosines"] = embedder.separation(output / "embedder")
        figures["embedder_threshold"] = embedder.THRESHOLD
    lap("measuring")
    figures["cpu_seconds"] = {**seconds, "all": round(time.process_time() - start, 1)}
    return figures


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="folder to write model/ and embedder/ into")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", choices=build.SIZES, default="0.5M", help="parameters of the model, roughly")
    parser.add_argument("--architecture", choices=architectures.EYES, default=architectures.LLAVA_NEXT)
    parser.add_argument("--kind-first", type=float, default=KIND_FIRST_RATE, help="share of captions")
    parser.add_argument("--no-embedder", action="store_true", help="train the model alone")
    parser.add_argument("--report", type=Path, help="JSON file of what was measured (default: in the model's folder)")
    options = parser.parse_args(arguments)
    more = f" --size {options.size}" if options.size != "0.5M" else ""
    more += f" --architecture {options.architecture}" if options.architecture != architectures.LLAVA_NEXT else ""
    more += f" --kind-first {options.kind_first:g}" if options.kind_first != KIND_FIRST_RATE else ""
    command = f"python scripts/train_testbed.py --output DIR --seed {options.seed}{more}"
    figures = train(
        options.output,
        seed=options.seed,
        size=options.size,
        architecture=options.architecture,
        kind_first=options.kind_first,
        with_embedder=not options.no_embedder,
    )
    figures = {"command": command, **figures}
    text = json.dumps(_rounded(figures), indent=2)
    report = options.report or options.output / "model" / "TRAINING.json"
    report.write_text(text + "\n", encoding="utf-8")
    print(text)
    print(f"{figures['cpu_seconds']['all']} CPU seconds in one thread, {os.cpu_count()} cores here")


def _say(line: str) -> None:
    print(line, flush=True)


def _rounded(value: object) -> object:
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return round(value, 4) if isinstance(value, float) else value
