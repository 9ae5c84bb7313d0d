"""The engine against naive ways of the same work: python scripts/bench_bdhs.py [--rounds N] [--json] [--device cuda
--dtype bfloat16 --shape llava-1.6-7b].

A random LLaVA-NeXT in fp32 on one thread, 2928 image tokens (a 672 x 672 image), reference answers of 5 sentences of 15
tokens, 15 new tokens a sentence, rho 0.99 (about 29 image tokens are kept). A *pass* is one try of one pair: all of its
5 sentences once. The arms of a round run one after the other, and every figure is the median over rounds of a ratio of
CPU times within a round. Every arm must give the same tokens, or the script fails. On an accelerator times are those
that pass until its work is done, and what is told of the tokens, there and in other dtypes, is the share that agrees
with the engine's. `pairs_an_hour` is the engine's at two tries, of one process, preprocessing not included.

* naive: transformers' `generate`, one call a sentence, hidden image tokens masked in a 2-D attention mask
* batched: the same in one left-padded call for the 5 sentences
* engine: image encoded once, hidden tokens dropped, one prefill for the 5 sentences, the branches of a block of 8 pairs
  in one pool; the cost of one pass is an eighth of the block's. `alone_...` is a block of a single pair.

The vision tower is sized to take the share of a naive pass that CLIP-L takes in LLaVA-1.6-7B (some 4 %). Memory is the
peak of resident memory over the loaded model, each arm in a process of its own, the engine with a block of 32 pairs and
32 branches at a time. The testbed is the whole command `mmpref build-dataset`, against the same command with `generate`
on the dropped sequences, vision shared: one call a sentence (`testbed_vs_portable`), one a pair, or our own portable
path, which batches 64 branches of any pairs (`mmpref.vlm.transformers_pool`). Both are for a CPU in fp32; on an
accelerator memory (`gib`) is the most that was allocated, with the weights.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from bench_models import (
    SHAPES,
    Agreement,
    Setting,
    add_options,
    device_facts,
    forget_peak,
    machine,
    peak_gib,
    peak_memory,
    random_policy,
    resident_growth,
    seconds,
    setting_of,
)
from PIL import Image

from mmpref.types import Message
from mmpref.vlm.branches import Branch
from mmpref.vlm.decoding import Decoding
from mmpref.vlm.encode import EncodedPrompt, encode
from mmpref.vlm.generate import decode
from mmpref.vlm.policy import Policy

SENTENCES, SENTENCE, NEW, BLOCK = 5, 15, 15, 8
DECODING = Decoding(max_new_tokens=NEW)


class Work:
    """One pair's work: prompt, image, mask, and what stands before each sentence's tail."""

    def __init__(self, policy: Policy, side: int, rho: float = 0.99) -> None:
        self.policy = policy
        picture = Image.effect_noise((side, side), 80).convert("RGB")
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

    def engine(
        self, pairs: int, context: EncodedPrompt | None = None, tries: int = 1, width: int = 64
    ) -> list[list[int]]:
        """Passes of a block of pairs; without a context every pair's image is encoded first."""
        contexts = [context or self.context() for _ in range(pairs)]
        for _ in range(tries):
            seen = [each.drop(self.kept, "original") for each in contexts]
            branches = [Branch(each, prefix) for each in seen for prefix in self.prefixes]
            tokens = decode(self.policy, branches, DECODING, width=width)
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
        device, dtype = self.policy.device, self.policy.dtype
        whole = self.policy.base_model.generate(
            input_ids=ids.to(device),
            attention_mask=mask.to(device),
            position_ids=positions.to(device),
            pixel_values=images["pixel_values"].to(device, dtype),
            image_sizes=images["image_sizes"].to(device),
            max_new_tokens=NEW,
            do_sample=False,
            suppress_tokens=sorted(self.policy.suppressed_ids),
        )
        return whole[:, size:].tolist()


def timed(
    setting: Setting,
    work: Callable[[], list[list[int]]],
    expected: list[list[int]],
    agreement: Agreement,
    times: int = 1,
) -> float:
    """Seconds of some work, the median over a number of times."""
    spent = []
    for _ in range(times):
        start = seconds(setting.device)
        tokens = work()
        spent.append(seconds(setting.device) - start)
        for first in range(0, len(tokens), SENTENCES):
            agreement.add(tokens[first : first + SENTENCES], expected)
    return statistics.median(spent)


def passes(rounds: int, setting: Setting) -> dict[str, list[float]]:
    """Ratios of every round, and pairs an hour at two tries."""
    policy = setting.policy()
    masked, whole = Work(policy, setting.picture), Work(policy, setting.picture, rho=0.0)
    cached = masked.context()
    expected, expected_whole = masked.engine(1, cached), whole.engine(1)  # also warms up
    found: dict[str, list[float]] = {}
    for number in range(rounds):
        agreement = Agreement(exact=setting.is_exact)

        def spent(
            work: Callable[[], list[list[int]]],
            times: int = 1,
            expected: list[list[int]] = expected,
            agreement: Agreement = agreement,
        ) -> float:
            return timed(setting, work, expected, agreement, times)

        naive, batched = spent(masked.naive), spent(masked.batched)
        naive_gib = peak_gib(setting.device)
        unmasked = spent(whole.naive, 1, expected_whole) / spent(lambda: whole.engine(1), 1, expected_whole)
        one = spent(lambda: masked.engine(BLOCK)) / BLOCK
        one_cached = spent(lambda: masked.engine(BLOCK, cached), 3) / BLOCK
        forget_peak(setting.device)
        two = spent(lambda: masked.engine(BLOCK, tries=2)) / BLOCK
        engine_gib = peak_gib(setting.device)
        alone = spent(lambda: masked.engine(1), 5)
        alone_cached = spent(lambda: masked.engine(1, cached), 5)
        alone_two = spent(lambda: masked.engine(1, tries=2), 5)
        for name, value in {
            "pass_vs_naive": naive / one,
            "cached_pass_vs_naive": naive / one_cached,
            "pair_vs_naive": 2 * naive / two,
            "pass_vs_batched": batched / one,
            "unmasked_pass_vs_naive": unmasked,
            "alone_pass_vs_naive": naive / alone,
            "alone_cached_pass_vs_naive": naive / alone_cached,
            "alone_pair_vs_naive": 2 * naive / alone_two,
            "pairs_an_hour": 3600 / two,
            "naive_pairs_an_hour": 1800 / naive,
            **({} if setting.is_exact else {"agreement": agreement.share}),
            **({} if setting.device == "cpu" else {"gib": engine_gib, "naive_gib": naive_gib}),
        }.items():
            found.setdefault(name, []).append(value)
        print(
            f"round {number + 1} of {rounds}: naive pass {naive:.2f} s, batched {batched:.2f} s, engine {one:.3f} s, "
            f"with vision cached {one_cached:.3f} s",
            file=sys.stderr,
        )
    return found


def memory_of(arm: str) -> float:
    """MB over the loaded model, at the peak."""
    work = Work(random_policy(), SHAPES["small"].picture)
    torch.set_num_threads(1)
    work.policy.embed(torch.zeros(1, dtype=torch.long))
    megabytes = resident_growth()
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
    return megabytes()


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--limit", type=int, default=1600, help="rows of the testbed")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--memory-of", choices=["naive", "engine"], help=argparse.SUPPRESS)
    add_options(parser)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.memory_of:
        print(memory_of(options.memory_of))
        return
    setting = setting_of(options)
    found = passes(options.rounds, setting)
    if setting == Setting():
        peaks = [(peak_memory(__file__, "engine"), peak_memory(__file__, "naive")) for _ in range(options.rounds)]
        found["memory_vs_naive"] = [engine / naive for engine, naive in peaks]
        found["gib"], found["naive_gib"] = ([peak / 1024 for peak in arm] for arm in zip(*peaks, strict=True))
        found |= testbed(options.rounds, options.limit)
    result: dict[str, Any] = {name: round(statistics.median(values), 3) for name, values in found.items()}
    result["spread"] = {name: [round(min(values), 3), round(max(values), 3)] for name, values in found.items()}
    result["machine"] = {**machine(), **device_facts(setting.device)}
    if options.json:
        print(json.dumps(result, indent=2))
        return
    for name, (low, high) in result["spread"].items():
        print(f"{name:30} {result[name]:8.2f}   ({low:.2f} to {high:.2f})")
    print(", ".join(f"{name} {value}" for name, value in result["machine"].items()))


if __name__ == "__main__":
    main()
