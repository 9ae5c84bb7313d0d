"""What `hostile_inputs.py` gives to readers of single documents: tables of words, annotations, results and manifests,
judgements, plans, and cards and configurations of strangers on the Hub."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from hostile_makers import any_value, changed

CARD = """---
license: mit
pretty_name: A
size_categories: [n<1K]
language: [en]
tags: [a]
configs:
- config_name: default
  data_files: [{split: train, path: data/train-*}]
dataset_info: {features: [{name: a, dtype: string}], splits: [{name: train, num_bytes: 1, num_examples: 1}]}
model-index:
- name: x
  results:
  - task: {type: image-text-to-text}
    dataset: {name: POPE, type: a/b}
    metrics: [{type: accuracy, value: 0.5}]
---
# A card

<!-- mmpref:begin -->
<!-- mmpref:data {"lines": [], "asked": {}} -->
<!-- mmpref:end -->
"""
VALUE = {
    "model": "base",
    "benchmark": "pope",
    "split": "all",
    "metric": "accuracy",
    "value": 0.9,
    "low": 0.8,
    "high": 1.0,
}
DATA = {"id": "a/b", "split": "test", "revision": "0" * 40}
DOCUMENTS: dict[str, Any] = {
    "relation.json": {"dog": ["puppy"], "cat": []},
    "results.json": {
        "models": [{"name": "base", "ref": {"model": "a/b"}}],
        "results": [{**VALUE, "n": 3, "images": 2, "of": ["right", "all"], "data": DATA}],
        "differences": [{name: value for name, value in VALUE.items() if name != "model"} | {"p": 0.1}],
        "asked": {"pope": {"benchmark": "pope", "label": "pope", "data": DATA, "changed": {"suffix": "x"}}},
    },
    "run.json": {"command": "train", "recipe": {"model": "a/b"}, "recipe_hash": "0"},
    "judgements.jsonl": {"judge": {"model": "m"}, "messages": [], "images": [], "repeat": 0, "reply": "yes"},
    "adapter_config.json": {"peft_type": "LORA", "base_model_name_or_path": "a/b", "revision": "0" * 40},
    "detections.json": {"1": ["dog"]},
    "instances_train2014.json": {
        "images": [{"id": 9}],
        "annotations": [{"image_id": 9, "category_id": 1}],
        "categories": [{"id": 1, "name": "dog"}],
    },
    "captions_train2014.json": {"annotations": [{"image_id": 9, "caption": "A dog."}]},
}
PLAN = """title: T
recipe: plain
data: {pairs: {method: mismatched, source: testbed, limit: 4}}
train: {dpo: {method: dpo}}
evaluate: {test: {benchmarks: [chair]}}
rows:
  mine: {data: pairs, train: dpo, evaluate: test}
"""
NESTED = ("[" * 3000, '{"a":\n' * 3000, "- " * 3000, "{\n" * 3000)
"""Deeper than Python calls itself. (Within a line YAML looks ahead for the end of every key, which takes long.)"""


@dataclass(frozen=True)
class Document:
    """A file that strangers write, and what reads it.

    Args:
        content: a right one; a JSON value where values of it may be changed too.
    """

    name: str
    content: Any
    read: Callable[[Path], object]

    def bytes(self, value: Any = None) -> bytes:
        value = self.content if value is None else value
        return (value if isinstance(value, str) else json.dumps(value, default=str)).encode(errors="surrogatepass")

    def hostile(self, rng: random.Random, number: int) -> bytes:
        """The right one, those that are nested too deeply, and any number of damaged ones."""
        if number == 0:
            return self.bytes()
        if number <= len(NESTED):
            nested = NESTED[number - 1]
            return (f"---\na: {nested}\n---\n" if self.name.endswith(".md") else nested).encode()
        if isinstance(self.content, str) or rng.random() < 0.3:
            return changed(rng, self.bytes())
        return self.bytes(_replaced(rng, self.content))


def _replaced(rng: random.Random, value: Any) -> Any:
    """A JSON value of which one part is another, or is not there."""
    if not value or not isinstance(value, dict | list) or rng.random() < 0.1:
        return any_value(rng)
    if isinstance(value, list):
        place = rng.randrange(len(value))
        return [*value[:place], _replaced(rng, value[place]), *value[place + 1 :]]
    name = rng.choice(sorted(value))
    if rng.random() < 0.15:
        return {key: one for key, one in value.items() if key != name}
    return {**value, name: _replaced(rng, value[name])}


def _results(path: Path) -> object:
    from mmpref.run.results import Results

    results = Results.read(path)
    return results.table(), results.as_dict(), results.differences_by_key(), repr(results)


def _card(path: Path) -> object:
    from mmpref.hub.cards.merge import merge_cards, split_card
    from mmpref.hub.cards.merge_dataset import merge_dataset_card
    from mmpref.hub.cards.results_table import read_lines
    from mmpref.licence import licence_of_card
    from mmpref.text_files import read_text

    text = read_text(path)
    return (
        licence_of_card(text),
        read_lines(split_card(text)[1]),
        merge_cards(text, CARD),
        merge_dataset_card(text, CARD),
    )


def _coco(path: Path) -> object:
    from mmpref.bench.scoring.coco import objects
    from mmpref.synonyms import Synonyms

    for name in ("instances_train2014.json", "captions_train2014.json"):
        file = path.parent / name
        if file != path:
            file.write_text(json.dumps(DOCUMENTS[name]))
        (path.parent / name.replace("train", "val")).write_text(json.dumps(DOCUMENTS[name]))
    return objects(path.parent, {9}, Synonyms.of(["dog"]))


def documents() -> Iterator[Document]:
    from mmpref.bench.scoring import amber
    from mmpref.data.builders import chair_dpo
    from mmpref.judges.replay import ReplayChat
    from mmpref.run.manifest import read_manifest
    from mmpref.study import plan
    from mmpref.synonyms import Synonyms
    from mmpref.types import ModelRef
    from mmpref.vlm.adapters import base_of, check_adapter

    readers: dict[str, Callable[[Path], object]] = {
        "relation.json": lambda path: amber.nouns("A dog and its puppies.", amber.Tables.read(str(path), None)),
        "results.json": _results,
        "run.json": lambda path: read_manifest(path.parent),
        "judgements.jsonl": ReplayChat,
        "adapter_config.json": lambda path: (
            base_of(str(path.parent)),
            check_adapter(ModelRef("a/b", None, str(path.parent))),
        ),
        "detections.json": lambda path: chair_dpo.detected(str(path)),
        "instances_train2014.json": _coco,
        "captions_train2014.json": _coco,
    }
    for name, read in readers.items():
        yield Document(name, DOCUMENTS[name], read)
    yield Document(
        "synonyms.txt", "person, man\ndog, puppy\n", lambda path: Synonyms.read(str(path)).objects("Two dogs.")
    )
    yield Document("plan.yaml", PLAN, lambda path: plan.load(str(path)))
    yield Document("extends.yaml", "extends: extends.yaml\n", lambda path: plan.load(str(path)))
    yield Document("README.md", CARD, _card)
    metadata = yaml.safe_load(CARD.split("---\n")[1])
    yield Document(
        "metadata.md", metadata, lambda path: _card_of(path, path.read_text(encoding="utf-8", errors="replace"))
    )


def _card_of(path: Path, metadata: str) -> object:
    """JSON is YAML: metadata of which a value is another."""
    path.write_text(metadata if metadata.startswith("---") else f"---\n{metadata}\n---\n{CARD.split('---')[2]}")
    return _card(path)


def give(rng: random.Random, folder: Path, each: int, run: Callable[[str, str, Callable[[], object]], None]) -> None:
    """Give every document to its reader, in so many forms."""
    for document in documents():
        for number in range(each + len(NESTED)):
            path = folder / document.name
            path.write_bytes(document.hostile(rng, number))
            run("documents", f"{document.name} {number}", lambda path=path, read=document.read: read(path))
            path.unlink()
