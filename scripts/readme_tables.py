"""The tables of README.md and docs/ out of what commands measured: python scripts/readme_tables.py.

* families: the table of `mmpref list families`
* speed: scripts/bench_bdhs.json, which `python scripts/bench_bdhs.py --json` wrote
* training: scripts/bench_dpo.json, which `python scripts/bench_dpo.py --json` wrote
* evaluation: scripts/bench_eval.json, which `python scripts/bench_eval.py --json` wrote
* gpu: scripts/gpu_check.json, where `bash scripts/gpu_check.sh --output scripts/gpu_check.json` has written it
* controls: model_cards/study/ledger, where `mmpref reproduce study` has written it
* diagnosis: scripts/check_diagnosis.json, which `python scripts/check_diagnosis.py --json` wrote
* hardware, larger models: what `mmpref doctor` counts of models of the shapes in scripts/bench_sizes.py
* near duplicates: scripts/check_near_duplicates.json, which `python scripts/check_near_duplicates.py --json` wrote
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import transformers as hf

sys.path.insert(0, str(Path(__file__).parent))

from bench_sizes import SHAPES, TOWER, config_of

from mmpref.api import doctor
from mmpref.cli.doctor import memory_text, time_text
from mmpref.registry import resolve_path
from mmpref.run.results import Key
from mmpref.run.results_text import interval_text
from mmpref.study import plan
from mmpref.study.effects import Effect, Effects
from mmpref.study.measurement import Ledger
from mmpref.vlm.costs import build_bytes, sizes_of
from mmpref.vlm.families import FAMILIES

ROOT = Path(__file__).parents[1]
FAMILY_TOKENS = ("image tokens", "at 672 x 672", ".99 leaves")
SPEED = {
    "pass_vs_naive": "one try of a pair, image encoding included, against `generate` a sentence, masked",
    "cached_pass_vs_naive": "the same with the image encoded already (second and later tries)",
    "pair_vs_naive": "a pair at two tries",
    "pass_vs_batched": "one try, against one left-padded `generate` for the pair's sentences",
    "unmasked_pass_vs_naive": "one try of one pair with nothing hidden (rho 0)",
    "alone_pass_vs_naive": "one try of a single pair, nothing pooled",
    "alone_cached_pass_vs_naive": "the same with the image encoded already",
    "memory_vs_naive": "peak memory, 32 branches at a time of a block of 32 pairs, against one naive `generate`",
}
TRAINING = {
    "shared": "speed of a step, image and prompt once",
    "shared_ref": "the same where the reference's log-probabilities are known (from the second epoch on)",
    "shared_ref_features": "the same where the vision tower's features are kept too",
    "shared_checkpointing": "speed of a step with gradient checkpointing",
    "shared_ref_checkpointing": "the same with the reference's log-probabilities known",
    "shared_ref_features_checkpointing": "the same with the vision tower's features kept",
    "memory": "peak memory over the loaded trainer",
}
EVALUATION = {
    "base": "three questions an image, answers of 4 tokens",
    "both": "the same of base and adapter, against one after the other",
    "alone": "one question an image: nothing to share",
}
GPU_STAGES = ("build", "dpo", "evaluation", "memory", "qlora")
GPU_FIGURES = (
    "pairs_an_hour",
    "times_naive",
    "new_tokens_a_second",
    "steps_a_second",
    "times_trl",
    "questions_a_second",
    "times_generate",
    "tflops",
    "share_of_peak",
    "gib",
)
CONTROLS = {
    "bdhs": "BDHS",
    "mismatched": "control: another row's answer, whatever was asked",
    "mismatched-prompt": "control: another row's answer to the same prompt",
    "same-kind": "control: the model's answer about a similar image",
    "shuffled": "control: the chosen answer's words in random order",
    "sft": "control: the chosen answers alone",
    "reversed": "chosen and rejected swapped, which must harm",
}
CONTROL_METRICS = {
    "CHAIR_i": ("chair chair_i", "test"),
    "of usual things": ("chair chair_i_typical", "test"),
    "of others": ("chair chair_i_other", "test"),
    "recall": ("chair recall", "test"),
    "CHAIR_i where the usual is there": ("chair chair_i", "usual"),
    "POPE accuracy": ("pope accuracy", "test"),
}
"""Each with the split that it is of."""


HARDWARE = {
    "build-dataset": "`build-dataset` (pairs)",
    "train": "`train` (pairs, one epoch)",
    "train in 4 bits": "`train`, 4 bits",
    "evaluate": "`evaluate` (questions)",
}


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows))


def families() -> str:
    shown = [family.describe() for family in FAMILIES]
    return table(
        ("model type", "models", "tokens an image", "at 672 x 672", "of these .99 leaves", "positions"),
        [
            (f"`{row['name']}`", row["models"], *(row[name] for name in FAMILY_TOKENS), row["positions"])
            for row in shown
        ],
    )


def spread(ends: Sequence[float]) -> str:
    """Of the rounds of a measurement; with one round there is none."""
    low, high = ends
    return f"{low:.2f} to {high:.2f}" if low < high else "one round"


def speed() -> str:
    found = json.loads((ROOT / "scripts/bench_bdhs.json").read_text(encoding="utf-8"))
    rows = [
        (
            text,
            f"{found[key]:.2f}x" if found[key] < 10 else f"{found[key]:.0f}x",
            spread(found["spread"][key]),
        )
        for key, text in SPEED.items()
    ]
    return f"{table(('what', 'median', 'spread'), rows)}\n\n{where(found['machine'])}"


def where(machine: Mapping[str, Any]) -> str:
    """The device that a bench ran on, and with what."""
    device = machine.get("device") or f"{machine['cpu']}, {machine['threads']} thread"
    return f"{device}, torch {machine['torch']}, transformers {machine['transformers']}."


def measured(file: str, against: str, what: dict[str, str]) -> str:
    found = json.loads((ROOT / "scripts" / file).read_text(encoding="utf-8"))
    rows = [(text, f"{found[key]:.2f}x", spread(found["spread"][key])) for key, text in what.items()]
    return f"{table((f'against {against}', 'median', 'spread'), rows)}\n\n{where(found['machine'])}"


def gpu(path: Path = ROOT / "scripts/gpu_check.json") -> str:
    """What was measured on a GPU, with its name; or that nothing was."""
    if not path.exists():
        return "**Not run on a GPU yet**: every figure here is a CPU's."
    stages = json.loads(path.read_text(encoding="utf-8"))["stages"]
    rows = []
    for stage in GPU_STAGES:
        for name, found in stages.get(stage, {}).get("found", {}).items():
            if isinstance(found, dict) and (
                cells := [f"{value:,.4g} {key.replace('_', ' ')}" for key, value in found.items() if key in GPU_FIGURES]
            ):
                rows.append((stage, name, ", ".join(cells)))
    ended = ", ".join(f"{name} {entry['status']}" for name, entry in stages.items() if entry["status"] != "done")
    device = stages.get("environment", {}).get("found", {}).get("device", {}).get("device", "a device without a name")
    return table((device, "", "measured"), rows) + (f"\n\nOf the other stages: {ended}." if ended else "")


def controls(ledger: Path = ROOT / "model_cards/study/ledger", *, everywhere: bool = False) -> str:
    """The base's values, and differences to them with their intervals, of the first metric on each base too; nothing
    where none were recorded.

    Args:
        everywhere: only of what was run on every base.
    """
    if not ledger.exists():
        return ""
    measured = Ledger.read(ledger)
    effects = Effects(plan.load("study"), measured)
    keys = [(Key.of(metric), split) for metric, split in CONTROL_METRICS.values()]
    of_base = [effects.value("base", key, split) for key, split in keys]
    shown = (f"{effect.value:.3f}" if effect else "not run" for effect in of_base)
    rows = [("base", "", on_each_base(of_base[0], ""), *shown)]
    found = {row: [effects.difference(row, "base", key, split) for key, split in keys] for row in CONTROLS}
    if everywhere:
        bases = of_base[0].bases if of_base[0] else ()
        found = {row: each for row, each in found.items() if each[0] and each[0].bases == bases}
    numbers = {row: next((one.number for one in differences if one), "") for row, differences in found.items()}
    alike = set(numbers.values()) - {""}
    for row, differences in found.items():
        rates = {one.point["trainer.learning_rate"] for one in measured if one.row == row and not one.is_grid_point}
        shown = (difference.text() if difference else "not run" for difference in differences)
        over = f" ({numbers[row]})" if len(alike) > 1 and numbers[row] else ""
        each = on_each_base(differences[0], "+")
        rows.append((f"{CONTROLS[row]}{over}", ", ".join(f"{rate:.0e}" for rate in sorted(rates)), each, *shown))
    head = f"{'; '.join(alike) if len(alike) == 1 else ''}; below the base: difference to it [95 %]".removeprefix("; ")
    usual = of_base[0].images if of_base[0] else None
    first, *others = (
        f"{name} ({effect.images} images)" if effect and effect.images != usual else name
        for name, effect in zip(CONTROL_METRICS, of_base, strict=True)
    )
    return table((head, "learning rate", f"{first} on each base", first, *others), rows)


def on_each_base(effect: Effect | None, sign: str) -> str:
    """The mean of each base; nothing where there is one."""
    means = effect.estimate.of_units if effect and len(effect.bases) > 1 else ()
    return ", ".join(f"{mean:{sign}.3f}" for mean in means)


def diagnosis() -> str:
    found = json.loads((ROOT / "scripts/check_diagnosis.json").read_text(encoding="utf-8"))
    rows = [
        [
            f"`{one['study']}` {one['base']}",
            *(interval_text(*one[name].values(), signed=True, digits=2) for name in ("gist", "text")),
            interval_text(*one["gist_share"].values(), digits=2),
            one["conclusion"],
            *(f"{one[name]:+.3f}" for name in ("bdhs", "lead")),
        ]
        for one in found
    ]
    head = ["model", "gist adds, nats", "text adds, nats", "gist's share", "they follow", "CHAIR_i: BDHS less base"]
    return table([*head, "BDHS less mismatched"], rows)


def near_duplicates() -> str:
    found = json.loads((ROOT / "scripts/check_near_duplicates.json").read_text(encoding="utf-8"))
    changes = list(next(iter(found["kinds"].values()))["missed"])
    rows = [
        [name, f"{kind['called copies']:.1%}", *(f"{kind['missed'][change]:.0%}" for change in changes)]
        for name, kind in found["kinds"].items()
    ]
    head = [f"{found['pictures']} of each kind", "called copies", *(f"missed: {changes[0]}", *changes[1:])]
    return table(head, rows)


def hardware() -> str:
    """Of LLaVA-1.6 on one H100: its 7B model as a folder without weights, which is what `mmpref doctor` reads."""
    side = {"height": TOWER["image_size"], "width": TOWER["image_size"]}
    images = hf.LlavaNextImageProcessorPil(size={"shortest_edge": TOWER["image_size"]}, crop_size=side)
    tokenizer = hf.AutoTokenizer.from_pretrained(resolve_path("pkg:mmpref.testbed/model"))
    tokens = {"patch_size": TOWER["patch_size"], "num_additional_image_tokens": 1}
    with tempfile.TemporaryDirectory() as folder:
        config_of(SHAPES["LLaVA-1.6-7B"]).save_pretrained(folder)
        hf.LlavaNextProcessor(images, tokenizer, vision_feature_select_strategy="default", **tokens).save_pretrained(
            folder
        )
        found = doctor.needs(folder, [doctor.h100()])
    rows = [
        [HARDWARE[one.command], memory_text(one.memory), time_text(one.hours)]
        for one in found.work[doctor.h100().place]
    ]
    return table(["command", "memory", f"time for {doctor.PER:,}"], rows)


def larger() -> str:
    """That BDHS takes of models that are larger."""
    memory = [memory_text(build_bytes(sizes_of(config_of(SHAPES[f"LLaVA-1.6-{size}"])))) for size in ("13B", "34B")]
    return f"A build takes {memory[0]} with a 13B model, and {memory[1]} with a 34B one."


def replaced(text: str, name: str, content: str) -> str:
    """The text with what stands between the table's two marks replaced."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    return re.sub(f"{begin}.*?{end}", lambda _: f"{begin}\n{content}\n{end}", text, flags=re.DOTALL)


def blocks() -> dict[str, dict[str, str]]:
    """What stands between marks, by file and name."""
    return {
        "README.md": {"controls": controls(everywhere=True), "hardware": hardware()},
        "docs/studies.md": {"controls": controls(), "diagnosis": diagnosis()},
        "docs/data.md": {"near duplicates": near_duplicates()},
        "docs/training.md": {
            "training": measured("bench_dpo.json", "TRL's DPOTrainer", TRAINING),
            "larger models": larger(),
        },
        "docs/evaluation.md": {"evaluation": measured("bench_eval.json", "batched `generate`", EVALUATION)},
        "docs/engine.md": {"speed": speed(), "gpu": gpu(), "families": families()},
    }


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    for file, contents in blocks().items():
        text = (ROOT / file).read_text(encoding="utf-8")
        for name, content in contents.items():
            text = replaced(text, name, content)
        (ROOT / file).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
