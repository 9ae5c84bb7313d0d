"""Memory and time of BDHS on models that do not fit here: python scripts/bench_sizes.py [--json].

The true shapes of LLaVA-1.6 are built on the meta device, which holds no numbers, and the engine's own calls are run on
them: vision, one prefill, one decoding step. Counted: parameters, bytes of keys and values, floating-point operations
(torch's flop counter). From these, a floor for one accelerator: operations at PEAK, weights and caches read at
BANDWIDTH, whichever takes longer. It is arithmetic, not a measurement; real runs reach a part of it.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import torch
import transformers as hf
from torch.utils.flop_counter import FlopCounterMode

from mmpref.vlm.costs import (
    ANSWER,
    BANDWIDTH,
    IMAGE_TOKENS,
    KEPT,
    MEMORY,
    NEW,
    PEAK,
    PROMPT,
    ROWS,
    build_bytes,
    pool_bytes,
    sizes_of,
)

TILES, SENTENCES = 5, 5
TOWER: dict[str, Any] = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "image_size": 336,
    "patch_size": 14,
}
SHAPES: dict[str, dict[str, Any]] = {
    "LLaVA-1.6-7B": {
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "vocab_size": 32064,
    },
    "LLaVA-1.6-13B": {
        "hidden_size": 5120,
        "intermediate_size": 13824,
        "num_hidden_layers": 40,
        "num_attention_heads": 40,
        "vocab_size": 32064,
    },
    "LLaVA-1.6-34B": {
        "hidden_size": 7168,
        "intermediate_size": 20480,
        "num_hidden_layers": 60,
        "num_attention_heads": 56,
        "num_key_value_heads": 8,
        "vocab_size": 64064,
    },
}


def config_of(shape: dict[str, Any]) -> hf.LlavaNextConfig:
    """The configuration of a model with this language model."""
    return hf.LlavaNextConfig(vision_config=hf.CLIPVisionConfig(**TOWER), text_config=hf.LlamaConfig(**shape))


def dry_run(shape: dict[str, Any]) -> dict[str, float]:
    """Sizes and floors of one model; bytes are of bf16."""
    config = config_of(shape)
    with torch.device("meta"):
        model = hf.LlavaNextForConditionalGeneration(config).to(torch.bfloat16).eval()
    decoder, hidden = model.get_decoder(), shape["hidden_size"]
    sizes = sizes_of(config)
    weights, language, a_token, pool = 2 * sizes.parameters, 2 * sizes.decoder, 2 * sizes.cached, pool_bytes(sizes)

    def operations(work: Any) -> int:
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            work()
        return counter.get_total_flops()

    def run(rows: int, tokens: int) -> Any:
        embeds = torch.empty(rows, tokens, hidden, device="meta", dtype=torch.bfloat16)
        return decoder(inputs_embeds=embeds, past_key_values=hf.DynamicCache(), use_cache=True).past_key_values

    slots = PROMPT + KEPT + ANSWER
    prefill = operations(lambda: run(1, slots))
    pixels = torch.empty(TILES, 3, 336, 336, device="meta", dtype=torch.bfloat16)
    vision = operations(lambda: model.model.vision_tower(pixels))
    step = operations(lambda: run(ROWS, 1))  # attention over the cache is a few per cent more
    naive = operations(lambda: run(1, PROMPT + IMAGE_TOKENS + ANSWER // 2))
    steps = SENTENCES * NEW / ROWS
    engine_pass = max(prefill / PEAK, language / BANDWIDTH / 8) + steps * max(
        step / PEAK, (language + pool) / BANDWIDTH
    )
    naive_pass = SENTENCES * ((naive + vision) / PEAK + NEW * language / BANDWIDTH)
    pair = vision / PEAK + 2 * engine_pass
    return {
        "weights_gb": weights / 1e9,
        "cache_kb_a_token": a_token / 1e3,
        "pool_gb": pool / 1e9,
        "peak_gb": build_bytes(sizes) / 1e9,
        "fits_80_gb": float(build_bytes(sizes) < 0.9 * MEMORY),
        "vision_ms": 1e3 * vision / PEAK,
        "pass_ms": 1e3 * engine_pass,
        "naive_pass_ms": 1e3 * naive_pass,
        "pairs_an_hour": 3600 / pair,
        "naive_pairs_an_hour": 3600 / (2 * naive_pass),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    found = {name: dry_run(shape) for name, shape in SHAPES.items()}
    if options.json:
        print(json.dumps(found, indent=2))
        return
    for row in next(iter(found.values())):
        print(f"{row:22}", *(f"{sizes[row]:12,.1f}" for sizes in found.values()))
    print(f"{'':22}", *(f"{name.removeprefix('LLaVA-'):>12}" for name in found))


if __name__ == "__main__":
    main()
