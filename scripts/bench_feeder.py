"""How many images worker processes prepare: python scripts/bench_feeder.py [--workers N] [--images N] [--json].

JPEGs of COCO's usual size (640 x 480) and a question each go through `mmpref.vlm.preprocessing_pool`, by the processors
of LLaVA-1.6 (five tiles of 336 pixels) and LLaVA-1.5 (one). No model runs.

* images_a_second: that passed through the pool, while the machine did whatever else it did
* images_a_second_a_core: images by the processor seconds of the workers, all that they do included; so many come from
  each core that has nothing else to do
* parent_ms: processor milliseconds that an image takes of the process that drives the model
* mb: of an image's inputs
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import psutil
import transformers as hf
from bench_models import SHAPES, machine, next_processor
from PIL import Image
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from mmpref.types import Example, ImageData, Message
from mmpref.vlm.preprocess import PromptPreprocessor
from mmpref.vlm.preprocessing_pool import PreprocessingPool
from tests.vlm.tiny import template, tokenizer

SHAPE = SHAPES["llava-1.6-7b"]
MODELS = ("llava-1.6", "llava-1.5")
WIDTH, HEIGHT, QUALITY, DISTINCT = 640, 480, 90, 8


def processors() -> dict[str, Any]:
    """By model."""
    words = tokenizer(image_token="<image>")
    side, patch = SHAPE.tower["image_size"], SHAPE.tower["patch_size"]
    one_tile = hf.LlavaProcessor(
        CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size={"height": side, "width": side}),
        words,
        patch_size=patch,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=template("<image>"),
    )
    return dict(zip(MODELS, (next_processor(SHAPE, words), one_tile), strict=True))


def picture(seed: int) -> bytes:
    """A JPEG of soft shapes and some grain, as photographs are."""
    numbers = np.random.default_rng(seed)
    rough = Image.fromarray(numbers.integers(0, 256, (HEIGHT // 20, WIDTH // 20, 3), dtype=np.uint8))
    soft = np.asarray(rough.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)).astype(np.float32)
    grained = np.clip(soft + numbers.normal(0, 6, soft.shape), 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(grained).save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


def worker_seconds() -> float:
    """Processor seconds of this process's children so far."""
    times = [child.cpu_times() for child in psutil.Process().children(recursive=True)]
    return sum(spent.user + spent.system for spent in times)


def measured(processor: Any, workers: int, images: int) -> dict[str, Any]:
    """What an image takes."""
    pictures = [picture(seed) for seed in range(DISTINCT)]
    question = (Message("user", "describe the picture ."),)
    examples = [
        Example(str(number), (ImageData(pictures[number % DISTINCT], "a picture"),), question, "w1 .", "")
        for number in range(images)
    ]
    pool = PreprocessingPool(PromptPreprocessor(processor), workers)
    try:
        pool.begin(examples[: 4 * workers])
        for example in examples[: 4 * workers]:
            made = pool(example)
        wall, here, there = time.perf_counter(), time.process_time(), worker_seconds()
        pool.begin(examples)
        for example in examples:
            pool(example)
        wall, here, there = time.perf_counter() - wall, time.process_time() - here, worker_seconds() - there
    finally:
        pool.close()
    pixels = made["pixel_values"]
    return {
        "tiles": pixels.numel() // (3 * SHAPE.tower["image_size"] ** 2),
        "images_a_second": round(images / wall, 2),
        "images_a_second_a_core": round(images / there, 2),
        "parent_ms": round(1000 * here / images, 2),
        "mb": round(sum(value.nbytes for value in made.values()) / 1e6, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--images", type=int, default=128, help="of each processor; default: 128")
    parser.add_argument("--models", nargs="+", default=MODELS, choices=MODELS)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args()
    chosen = {name: processor for name, processor in processors().items() if name in given.models}
    found: dict[str, Any] = {name: measured(one, given.workers, given.images) for name, one in chosen.items()}
    found |= {"image": f"JPEG, {WIDTH} x {HEIGHT}", "workers": given.workers, "machine": machine()}
    if given.json:
        print(json.dumps(found, indent=2))
        return
    for name, value in found.items():
        print(f"{name:10} {value}")


if __name__ == "__main__":
    main()
