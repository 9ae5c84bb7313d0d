"""The engine against naive ways of the same work: python scripts/bench_bdhs.py [--rounds N] [--json].

A random LLaVA-NeXT in fp32 on one thread, 2928 image tokens (a 672 x 672 image), reference answers of 5 sentences of 15
tokens, 15 new tokens a sentence, rho 0.99 (about 29 image tokens are kept). A *pass* is one try of one pair: all of its
5 sentences once. The arms of a round run one after the other, and every figure is the median over rounds of a ratio of
CPU times within a round. Every arm must give the same tokens, or the script fails.

* naive: transformers' `generate`, one call a sentence, hidden image tokens masked in a 2-D attention mask
* batched: the same in one left-padded call for the 5 sentences
* engine: image encoded once, hidden tokens dropped, one prefill for the 5 sentences, the branches of a block of 8 pairs
  in one pool; the cost of one pass is an eighth of the block's. `alone_...` is a block of a single pair.

The vision tower is sized to take the share of a naive pass that CLIP-L takes in LLaVA-1.6-7B (some 4 %). Memory is the
peak of resident memory over the loaded model, each arm in a process of its own, the engine with a block of 32 pairs and
32 branches at a time. The testbed is the whole command `mmpref build-dataset`, against the same command with `generate`
on the dropped sequences, vision shared: one call a sentence (`testbed_vs_portable`), one a pair, or our own portable
path, which batches 64 branches of any pairs (`mmpref.vlm.transformers_pool`).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
import transformers as hf
from PIL import Image
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil

from mmpref.types import Message, ModelRef
from mmpref.vlm.branches import Branch
from mmpref.vlm.decoding import Decoding
from mmpref.vlm.encode import EncodedPrompt, encode
from mmpref.vlm.families import find_family
from mmpref.vlm.generate import decode
from mmpref.vlm.policy import Policy
from tests.vlm.tiny import template, tokenizer

SENTENCES, SENTENCE, NEW, BLOCK = 5, 15, 15, 8
PINPOINTS = [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]
DECODING = Decoding(max_new_tokens=NEW)


def random_policy(vocabulary: int | None = None) -> Policy:
    """LLaVA-NeXT with LLaVA-1.6's image grid, a language model of 8 layers x 512, seeded random weights.

    Args:
        vocabulary: size of the output head, by default that of the tokenizer's few words.
    """
    torch.manual_seed(0)
    words = tokenizer(image_token="<image>")
    text = hf.LlamaConfig(
        vocab_size=vocabulary or len(words),
        hidden_size=512,
        intermediate_size=1376,
        num_hidden_layers=8,
        num_attention_heads=8,
        num_key_value_heads=8,
        max_position_embeddings=8192,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
        initializer_range=0.1,
        tie_word_embeddings=False,
    )
    sight = hf.CLIPVisionConfig(
        hidden_size=128,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=4,
        image_size=336,
        patch_size=14,
    )
    config = hf.LlavaNextConfig(
        vision_config=sight, text_config=text, image_token_index=words.image_token_id, image_grid_pinpoints=PINPOINTS
    )
    model = hf.LlavaNextForConditionalGeneration(config).float().eval()
    model.generation_config.eos_token_id = None  # every answer has its full length
    square = {"height": 336, "width": 336}
    pixels = LlavaNextImageProcessorPil(size={"shortest_edge": 336}, crop_size=square, image_grid_pinpoints=PINPOINTS)
    processor = hf.LlavaNextProcessor(
        pixels,
        words,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=template("<image>"),
    )
    policy = Policy(model, processor, find_family("llava_next", "random"), ModelRef("random"))
    policy.eos_ids = set()
    return policy


class Work:
    """One pair's work: prompt, image, mask, and what stands before each sentence's tail."""

    def __init__(self, policy: Policy, rho: float = 0.99) -> None:
        self.policy = policy
        picture = Image.effect_noise((672, 672), 80).convert("RGB")
        self.inputs = policy.prompter.prepare([Message("user", "describe the picture .")], [picture])
        self.is_image = self.inputs["input_ids"][0] == policy.image_token_id
        draws = torch.rand(int(self.is_image.sum()), generator=torch.Generator().manual_seed(1))
        self.kept = draws >= rho
        ids = torch.randint(
            10, len(policy.tokenizer), (SENTENCES * SENTENCE,), generator=torch.Generator().manual_seed(2)
        )
        self.prefixes = [tuple(ids[: number * SENTENCE + 7].tolist()) for number in range(SENTENCES)]

    def context(self) -> EncodedPrompt:
        return encode(self.policy, [self.inputs])[0]

    def engine(self, pairs: int, context: EncodedPrompt | None = None, tries: int = 1) -> list[list[int]]:
        """Passes of a block of pairs; without a context every pair's image is encoded first."""
        contexts = [context or self.context() for _ in range(pairs)]
        for _ in range(tries):
            seen = [each.drop(self.kept, "original") for each in contexts]
            branches = [Branch(each, prefix) for each in seen for prefix in self.prefixes]
            tokens = decode(self.policy, branches, DECODING)
        return tokens

    def naive(self, tries: int = 1) -> list[list[int]]:
        for _ in range(tries):
            tokens = [self._generate([prefix])[0] for prefix in self.prefixes]
        return tokens

    def batched(self) -> list[list[int]]:
        return self._generate(self.prefixes)

    @torch.inference_mode()
    def _generate(self, prefixes: list[tuple[int, ...]]) -> list[list[int]]:
        prompt = self.inputs["input_ids"][0]
        size = len(prompt) + max(map(len, prefixes))
        ids = torch.zeros(len(prefixes), size, dtype=torch.long)
        mask, positions = torch.zeros_like(ids), torch.zeros_like(ids)
        visible = torch.ones_like(prompt)
        visible[self.is_image] = self.kept.long()
        for row, prefix in enumerate(prefixes):
            written = len(prompt) + len(prefix)
            ids[row, size - written :] = torch.cat([prompt, torch.tensor(prefix)])
            mask[row, size - written :] = torch.cat([visible, torch.ones(len(prefix), dtype=torch.long)])
            positions[row, size - written :] = torch.arange(written)
        images = {name: torch.cat([self.inputs[name]] * len(prefixes)) for name in ("pixel_values", "image_sizes")}
        whole = self.policy.base_model.generate(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            **images,
            max_new_tokens=NEW,
            do_sample=False,
            suppress_tokens=sorted(self.policy.suppressed_ids),
        )
        return whole[:, size:].tolist()


def timed(work: Callable[[], list[list[int]]], expected: list[list[int]], times: int = 1) -> float:
    """CPU seconds of some work, the median over a number of times."""
    spent = []
    for _ in range(times):
        start = time.process_time()
        tokens = work()
        spent.append(time.process_time() - start)
        if any(tokens[start : start + SENTENCES] != expected for start in range(0, len(tokens), SENTENCES)):
            raise SystemExit("Error: two arms gave different tokens.")
    return statistics.median(spent)


def passes(rounds: int) -> dict[str, list[float]]:
    """Ratios of every round."""
    policy = random_policy()
    masked, whole = Work(policy), Work(policy, rho=0.0)
    cached = masked.context()
    expected, expected_whole = masked.engine(1, cached), whole.engine(1)  # also warms up
    ratios: dict[str, list[float]] = {}
    for number in range(rounds):
        naive = timed(masked.naive, expected)
        batched = timed(masked.batched, expected)
        unmasked = timed(whole.naive, expected_whole) / timed(lambda: whole.engine(1), expected_whole)
        one = timed(lambda: masked.engine(BLOCK), expected) / BLOCK
        one_cached = timed(lambda: masked.engine(BLOCK, cached), expected, 3) / BLOCK
        two = timed(lambda: masked.engine(BLOCK, tries=2), expected) / BLOCK
        alone = timed(lambda: masked.engine(1), expected, 5)
        alone_cached = timed(lambda: masked.engine(1, cached), expected, 5)
        alone_two = timed(lambda: masked.engine(1, tries=2), expected, 5)
        for name, ratio in {
            "pass_vs_naive": naive / one,
            "cached_pass_vs_naive": naive / one_cached,
            "pair_vs_naive": 2 * naive / two,
            "pass_vs_batched": batched / one,
            "unmasked_pass_vs_naive": unmasked,
            "alone_pass_vs_naive": naive / alone,
            "alone_cached_pass_vs_naive": naive / alone_cached,
            "alone_pair_vs_naive": 2 * naive / alone_two,
        }.items():
            ratios.setdefault(name, []).append(ratio)
        print(
            f"round {number + 1} of {rounds}: naive pass {naive:.2f} s, batched {batched:.2f} s, engine {one:.3f} s, "
            f"with vision cached {one_cached:.3f} s",
            file=sys.stderr,
        )
    return ratios


def peak_memory(arm: str) -> float:
    """MB over the loaded model, in a process of its own."""
    done = subprocess.run([sys.executable, __file__, "--memory-of", arm], stdout=subprocess.PIPE, check=True, text=True)
    return float(done.stdout.split()[-1])


def memory_of(arm: str) -> float:
    work = Work(random_policy())
    torch.set_num_threads(1)
    work.policy.embed(torch.zeros(1, dtype=torch.long))
    status = Path("/proc/self/status")
    before = _kilobytes(status, "VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    if arm == "naive":
        work._generate(work.prefixes[-1:])
    else:
        # A block of 32 pairs as a build encodes it: 16 MB of images at a time, and of each prompt only what its tries
        # will show is kept.
        together = 16_000_000 // sum(value.nbytes for value in work.inputs.values()) + 1
        prompts = [{name: value.clone() for name, value in work.inputs.items()} for _ in range(together)]
        seen: list[EncodedPrompt] = []
        for _ in range(-(-32 // together)):
            seen += encode(work.policy, prompts, keep=lambda _, whole: whole.drop(work.kept, "original"))
        del prompts
        branches = [Branch(context, prefix) for context in seen for prefix in work.prefixes]
        decode(work.policy, branches, DECODING, width=32)
    return (_kilobytes(status, "VmHWM") - before) / 1024


def _kilobytes(status: Path, field: str) -> int:
    return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith(field + ":"))


_COMMAND = "import sys; from mmpref.cli.main import main; main()"
_PORTABLE = """
from mmpref.sampling import bdhs
from mmpref.vlm import transformers_pool

class Pool(transformers_pool.TransformersPool):
    def __iter__(self):
        while self._queue:
            batch = []
            while self._queue and (not batch or belongs(batch[0].branch.stream, self._queue[0].branch.stream)):
                batch.append(self._queue.popleft())
            transformers_pool.generate_batch(self._policy, batch, self._decoding)
            yield from ((state.number, state.tokens) for state in batch)

"""
_ARMS = {
    "engine": _COMMAND,
    "testbed_vs_portable": _PORTABLE + "belongs = lambda a, b: False; bdhs.decoding_pool = Pool; " + _COMMAND,
    "testbed_vs_portable_by_pair": _PORTABLE
    + "belongs = lambda a, b: a[:2] == b[:2]; bdhs.decoding_pool = Pool; "
    + _COMMAND,
    "testbed_vs_portable_by_64": _PORTABLE + "bdhs.decoding_pool = transformers_pool.TransformersPool; " + _COMMAND,
}


def _children() -> float:
    """CPU seconds of finished child processes."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def testbed(rounds: int, limit: int) -> dict[str, list[float]]:
    """CPU time of the whole command with each portable arm, in units of the engine's."""
    ratios: dict[str, list[float]] = {}
    for number in range(rounds):
        spent, data = {}, {}
        for arm, code in _ARMS.items():
            with tempfile.TemporaryDirectory() as folder:
                output = Path(folder) / "run"
                command = ["build-dataset", "--limit", str(limit), "--output", str(output)]
                start = _children()
                subprocess.run([sys.executable, "-c", code, *command], check=True, capture_output=True)
                spent[arm] = _children() - start
                data[arm] = _texts(output)
            if data[arm] != data["engine"]:
                raise SystemExit("Error: the engine and the portable path built different pairs.")
            if arm != "engine":
                ratios.setdefault(arm, []).append(spent[arm] / spent["engine"])
        shown = ", ".join(f"{arm.removeprefix('testbed_vs_')} {seconds:.1f} s" for arm, seconds in spent.items())
        print(f"testbed {number + 1} of {rounds}: {shown}", file=sys.stderr)
    return ratios


def _texts(run: Path) -> list[Any]:
    import pyarrow.parquet as pq

    return [
        pq.read_table(file, columns=["id", "rejected", "iterations"]).to_pylist()
        for file in sorted((run / "data").glob("*.parquet"))
    ]


def machine() -> dict[str, Any]:
    model = next(
        (
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "transformers": hf.__version__,
        "python": platform.python_version(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--limit", type=int, default=1600, help="rows of the testbed")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--memory-of", choices=["naive", "engine"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.memory_of:
        print(memory_of(options.memory_of))
        return
    ratios = passes(options.rounds)
    ratios["memory_vs_naive"] = [peak_memory("engine") / peak_memory("naive") for _ in range(options.rounds)]
    ratios |= testbed(options.rounds, options.limit)
    result: dict[str, Any] = {name: round(statistics.median(values), 3) for name, values in ratios.items()}
    result["spread"] = {name: [round(min(values), 3), round(max(values), 3)] for name, values in ratios.items()}
    result["machine"] = machine()
    if options.json:
        print(json.dumps(result, indent=2))
        return
    for name, (low, high) in result["spread"].items():
        print(f"{name:30} {result[name]:8.2f}   ({low:.2f} to {high:.2f})")
    print(", ".join(f"{name} {value}" for name, value in result["machine"].items()))


if __name__ == "__main__":
    main()
