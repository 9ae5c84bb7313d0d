"""Hostile inputs to everything that reads what others wrote: each is read, or refused with an error of mmpref's own.

    python scripts/hostile_inputs.py            # 1,000 and more inputs of seed 0: what became of them, by kind
    python scripts/hostile_inputs.py --seed 7 --each 500

Inputs are made anew of the seed: files of every container with bytes changed, rows of any cells, pictures that are cut,
bent, animated, huge or wrongly described, names of files that lead out of their folder, recipes, replies of judges and
models, documents of strangers (results, plans, cards, tables of words), and cells of a million characters. A fault is
a traceback (an exception that is none of mmpref's), a message that is long or cannot be printed, or a file read from
outside its folder. The exit status is 1 where there is any.
"""

from __future__ import annotations

import argparse
import base64
import json
import logging
import os
import random
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hostile_documents
from hostile_makers import TEXTS, WORDS, any_row, any_value, changed, containers, odd_pictures, picture

from mmpref.errors import ImageError, MmprefError
from mmpref.synonyms import Synonyms

SECRET = b"what lies outside of the folder"
LONGEST_MESSAGE = 5_000
"""Characters of an error's text."""
MILLION = 1_000_000


@dataclass
class Report:
    """What became of the inputs: outcomes by kind, and every fault."""

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    slowest: tuple[float, str] = (0.0, "")

    @property
    def inputs(self) -> int:
        return sum(self.outcomes.values())

    def run(self, kind: str, name: str, work: Callable[[], object]) -> None:
        """Give one input to what reads it."""
        begun, outcome = time.process_time(), "read"
        try:
            work()
        except MmprefError as error:
            outcome, said = "refused", str(error)
            if len(said) > LONGEST_MESSAGE:
                self.faults.append(f"{kind} {name}: a message of {len(said):,} characters")
            try:
                said.encode()
            except UnicodeEncodeError:
                self.faults.append(f"{kind} {name}: a message that cannot be printed: {said[:300]!a}")
        except Exception:
            outcome = "traceback"
            self.faults.append(f"{kind} {name}:\n{traceback.format_exc()[-1500:]}")
        self.outcomes[kind, outcome] += 1
        self.slowest = max(self.slowest, (time.process_time() - begun, f"{kind} {name}"))


def read_table(path: Path) -> None:
    """As every command reads it: rows, prompts, answers, images."""
    from mmpref.tables.image_roots import ImageRoots
    from mmpref.tables.open import open_table
    from mmpref.tables.table import TableReader

    table = open_table(str(path))
    reader, roots = TableReader(table), ImageRoots(table.images)
    refused: ImageError | None = None
    for number, row in enumerate(table):
        try:
            read_cells(reader.read(row, number).images, roots)
        except ImageError as error:  # of one row, which would be skipped
            refused = refused or error
    reader.end()
    if refused:
        raise refused


def read_cells(cells: Any, roots: Any) -> None:
    """The images of a row.

    Raises:
        ImageError: one of them cannot be used.
    """
    from mmpref.tables.image_cells import read_images

    images, _ = read_images(cells, roots)
    if any(SECRET in image.content for image in images):
        raise AssertionError("a file outside of the folder was read")


def files(rng: random.Random, folder: Path, each: int, report: Report) -> None:
    for ending, content in containers(folder).items():
        for number in range(each):
            path = folder / f"rows.{ending}"
            path.write_bytes(changed(rng, content) if number else content)
            report.run("files", f"{ending} {number}", lambda path=path: read_table(path))
            path.unlink()


def rows(rng: random.Random, _folder: Path, each: int, report: Report) -> None:
    """Rows of any cells, as preference rows, with columns named, and as those of benchmarks."""
    from mmpref.bench.plan import load_plan
    from mmpref.tables.columns import own_columns
    from mmpref.tables.image_roots import ImageRoots
    from mmpref.tables.in_memory import open_memory, spec_of
    from mmpref.tables.table import TableReader

    def preferences(row: dict[str, Any]) -> None:
        [table] = own_columns([open_memory(spec_of([row], own_paths=False), "train")], None, "What is it?")
        reader = TableReader(table, ("chosen", "rejected"))
        for number, read in enumerate(table):
            read_cells(reader.read(read, number).images, ImageRoots([]))
        reader.end()

    def questions(benchmark: str, row: dict[str, Any], settings: dict[str, Any]) -> None:
        spec = spec_of([row], own_paths=False)
        plan = load_plan(benchmark, benchmark, {"data": spec, **settings}, None)
        for sample in plan.samples:
            plan.task.score(sample, "Yes, a dog.")

    for number in range(4 * each):
        row = any_row(rng)
        report.run("rows", str(number), lambda row=row: preferences(row))
    asked: dict[str, tuple[str, ...]] = {
        "pope": ("image", "question", "answer", "category", "image_source"),
        "chair": ("image", "objects", "question_id"),
        "gqa": ("image", "question", "answer", "types", "imageId", "id"),
        "mmstar": ("image", "question", "answer", "category"),
        "textvqa": ("image", "question", "answers", "image_id"),
        "hallusionbench": ("image", "question", "gt_answer", "category", "subcategory", "visual_input", "set_id"),
    }
    likely = ("yes", "A", ["dog"], ["x"] * 10, "dog, cat", "VS", "1")
    for benchmark, columns in asked.items():
        for number in range(each):
            row = {name: rng.choice([any_value(rng), *likely]) for name in columns if rng.random() < 0.9}
            report.run("questions", f"{benchmark} {number}", lambda b=benchmark, row=row: questions(b, row, {}))


def pictures(rng: random.Random, _folder: Path, each: int, report: Report) -> None:
    from mmpref.images import decode_noting
    from mmpref.types import ImageData

    def look(content: bytes) -> None:
        shown, _ = decode_noting(ImageData(content, "a.png"))
        assert shown.mode == "RGB"

    for name, content in odd_pictures().items():
        for number in range(max(2, each // 4)):
            made = changed(rng, content) if number else content
            report.run("pictures", f"{name} {number}", lambda made=made: look(made))


def names(rng: random.Random, folder: Path, each: int, report: Report) -> None:
    """Paths in rows, under a folder with links in it and under an archive with such names in it."""
    from mmpref.tables.image_roots import ImageRoots

    outside, root = folder / "secret.png", folder / "root"
    (root / "inner").mkdir(parents=True)
    outside.write_bytes(picture("PNG") + SECRET)
    (root / "a.png").write_bytes(picture("PNG"))
    (root / "link.png").symlink_to(outside)
    (root / "up").symlink_to(folder)
    (root / "loop").symlink_to(root / "loop")
    os.mkfifo(root / "pipe.png")
    with zipfile.ZipFile(folder / "root.zip", "w") as archive:
        for name in ("a.png", "../secret.png", "/abs.png", "x/../../y.png"):
            archive.writestr(name, picture("PNG"))
    roots = [
        ImageRoots([root]),
        ImageRoots([folder / "root.zip"]),
        ImageRoots([root, folder / "root.zip"]),
        ImageRoots([]),
    ]
    parts = [*WORDS["names"], str(folder), str(outside), "x" * 5000]
    for number in range(12 * each):
        name = rng.choice(["/", "\\", ""]).join(rng.choice(parts) for _ in range(rng.randrange(1, 5)))
        cell: Any = rng.choice([name, {"path": name}, {"bytes": None, "path": name}, {"url": name}, f"file://{name}"])
        for place in roots:
            report.run("names", f"{number} {name[:60]!a}", lambda cell=cell, place=place: read_cells([cell], place))


def recipes(rng: random.Random, folder: Path, each: int, report: Report) -> None:
    from mmpref.api.options import recipe
    from mmpref.recipes.resolve import parse_set

    good = b"""
build-dataset: {method: mismatched, source: a.csv, columns: {prompt: q}, builder: {}, where: [a > 1]}
train:
  method: dpo
  model: a/b
  trainer: {learning_rate: 5e-6, max_steps: 3}
  lora: {r: 8}
evaluate: {model: a/b, benchmarks: [pope], benchmark: {pope: {suffix: Say.}}}
"""
    odd = [*WORDS["recipes"], "- " * 3000, "{\n" * 3000, "train: {r: " + "[" * 3000, f"train: {{limit: {'9' * 5000}}}"]
    path = folder / "mine.yaml"

    def resolve(command: str) -> None:
        recipe(path, command)

    for number in range(3 * each + len(odd)):
        path.write_bytes(odd[number].encode() if number < len(odd) else changed(rng, good))
        for command in ("build-dataset", "train", "evaluate"):
            report.run("recipes", f"{number} {command}", lambda command=command: resolve(command))
    for number in range(each):
        setting = rng.choice(["a", "a.b", "", ".", "trainer.max_steps"]) + rng.choice(["=", ""]) + rng.choice(TEXTS)
        report.run("recipes", f"--set {number}", lambda setting=setting: parse_set([setting]))


def replies(rng: random.Random, _folder: Path, each: int, report: Report) -> None:
    """What judges and models may say, to every reader of it."""
    from mmpref import reasoning
    from mmpref.bench.mentions import by_references, by_synonyms
    from mmpref.bench.scoring import (
        amber,
        chair,
        gqa,
        halbench,
        mme,
        mmstar,
        pope,
        ratings,
        vl_rewardbench,
        vqa,
        yes_no,
    )
    from mmpref.judges import verdicts
    from mmpref.judges.claims import claims_in
    from mmpref.sampling import sentences
    from mmpref.words import words as split_words

    table = Synonyms.of(["dog", "traffic light"])
    readers: dict[str, Callable[[str], object]] = {
        "number": lambda text: verdicts.number(text, 0, 10),
        "leading": lambda text: verdicts.leading(text, 0, 10),
        "pair": lambda text: verdicts.pair(text, 0, 10, ["first", "second"]),
        "choice": verdicts.choice,
        "yes_or_no": verdicts.yes_or_no,
        "rating": ratings.rating,
        "two_scores": ratings.two_scores,
        "correctness": ratings.correctness,
        "objects": ratings.objects,
        "reasoning": reasoning.read,
        "pope": lambda text: pope.count(text, "yes"),
        "gqa": lambda text: (gqa.right(text, "dog"), gqa.right_without_punctuation(text, "dog")),
        "mme": mme.parse,
        "mmstar": lambda text: (mmstar.right(text, "A"), mmstar.letter(text)),
        "vqa": lambda text: vqa.accuracy(text, ["dog"] * 10),
        "yes_no": yes_no.parse,
        "amber": amber.parse,
        "chair": lambda text: chair.count(text, ["dog"], table),
        "halbench": lambda text: halbench.count(halbench.mentions([text], table), text, ["dog"], table),
        "vl_rewardbench": vl_rewardbench.better,
        "mentions": lambda text: (by_synonyms(table)(text), by_references([text])("A dog.")),
        "claims": claims_in,
        "sentences": lambda text: (sentences.split(text), sentences.first_end(text), sentences.stands_at_end(text)),
        "words": split_words,
    }
    words = WORDS["replies"]
    for name, reader in readers.items():
        for number in range(max(2, each // 4)):
            text = rng.choice(["", " ", "\n"]).join(rng.choice([*words, *TEXTS]) for _ in range(rng.randrange(12)))
            report.run("replies", f"{name} {number}", lambda reader=reader, text=text: reader(text))
        long = (rng.choice(words) + " ") * (100_000 // 5)
        report.run("replies", f"{name} long", lambda reader=reader, long=long: reader(long))


def documents(rng: random.Random, folder: Path, each: int, report: Report) -> None:
    hostile_documents.give(rng, folder, each, report.run)


def long_cells(_rng: random.Random, folder: Path, _each: int, report: Report) -> None:
    """A million characters in every place of a row."""
    long = "x" * MILLION
    row = {"id": "a", "image": base64.b64encode(picture("PNG")).decode(), "question": "What?", "answer": "A dog."}
    for name in row:
        for content in (long, "<" * MILLION, "[" * MILLION, "a b" * (MILLION // 3), "{" + long):
            path = folder / "long.jsonl"
            path.write_text(json.dumps({**row, name: content}) + "\n")
            report.run("long", f"{name} {content[:3]}", lambda path=path: read_table(path))
    for name, text in {
        "column": json.dumps({long: 1}),
        "nested": '{"question": ' + "[" * 100_000 + "]" * 100_000 + "}",
        "digits": '{"question": ' + "9" * 100_000 + ', "answer": "a", "image": "b"}',
        "columns": json.dumps({f"c{number}": 1 for number in range(100_000)}),
        "conversation": json.dumps({"image": row["image"], "messages": [{"role": "user", "content": "a"}] * 50_000}),
    }.items():
        path = folder / "long.jsonl"
        path.write_text(text + "\n")
        report.run("long", name, lambda path=path: read_table(path))
    for name, text in {
        "cell": f"question,answer,image\n{long},b,c\n",
        "header": f"{long},b\n1,2\n",
        "quote": f'a,b\n"{long}',
    }.items():
        path = folder / "long.csv"
        path.write_text(text)
        report.run("long", f"csv {name}", lambda path=path: read_table(path))


KINDS: dict[str, Callable[[random.Random, Path, int, Report], None]] = {
    "files": files,
    "rows": rows,
    "pictures": pictures,
    "names": names,
    "recipes": recipes,
    "replies": replies,
    "documents": documents,
    "long": long_cells,
}


def run(kind: str, seed: int, each: int, report: Report | None = None) -> Report:
    """Give the inputs of a kind to everything that reads such: the report."""
    report = report or Report()
    said = logging.getLogger("mmpref")
    level = said.level
    said.setLevel(logging.CRITICAL)
    try:
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            KINDS[kind](random.Random(f"{seed} {kind}"), Path(folder), each, report)
    finally:
        said.setLevel(level)
    return report


def lines(report: Report) -> Iterator[str]:
    kinds = dict.fromkeys(kind for kind, _ in report.outcomes)
    yield f"{'kind':<12}{'inputs':>8}{'read':>8}{'refused':>9}{'traceback':>11}"
    for kind in kinds:
        read, refused, broken = (report.outcomes[kind, outcome] for outcome in ("read", "refused", "traceback"))
        yield f"{kind:<12}{read + refused + broken:>8,}{read:>8,}{refused:>9,}{broken:>11,}"
    seconds, slowest = report.slowest
    yield f"{report.inputs:,} inputs, {len(report.faults)} faults; slowest {seconds:.1f} s ({slowest})"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--each", type=int, default=16, help="inputs of every sort, more or less")
    parser.add_argument("--kind", choices=KINDS, action="append", help="only these")
    arguments = parser.parse_args()
    report = Report()
    for kind in arguments.kind or KINDS:
        run(kind, arguments.seed, arguments.each, report)
    for fault in report.faults:
        print(fault, file=sys.stderr)
    print("\n".join(lines(report)))
    return int(bool(report.faults))


if __name__ == "__main__":
    sys.exit(main())
