"""Answers that runs share: asked once, the same numbers, and under a key of all that decides them."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from mmpref.bench.answer_cache import FOLDER, CachedAnswerer, shared
from mmpref.bench.benchmark import Sample
from mmpref.bench.evaluate import evaluate
from mmpref.bench.local_answerer import LocalAnswerer
from mmpref.bench.recipe import EvaluateRecipe
from mmpref.errors import ImageError, MmprefError
from mmpref.run import manifest
from mmpref.types import ImageData, Message
from tests.bench.conftest import MODEL, MakeAdapter
from tests.bench.test_paired import SETTINGS

RECIPE = EvaluateRecipe("me/vlm", ("pope",), adapter="me/adapter")
IDENTITY = {
    "model": {"id": "me/vlm", "revision": "a" * 40, "files": None},
    "adapter": {"id": "me/adapter", "revision": "b" * 40, "weights": "0"},
}
_FORK = multiprocessing.get_context("fork")
SAMPLE = Sample("1", "1", ImageData(b"image"), (Message("user", "Is it?"),), "yes")


class _Counting:
    """Answers with the prompt, and counts how often; of an image named ``broken`` there is no answer."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, samples: Sequence[Sample], limit: int, models: Sequence[str]) -> Mapping[str, list[Any]]:
        self.asked += len(samples) * len(models)
        return {model: [self._answer(sample, model) for sample in samples] for model in models}

    def _answer(self, sample: Sample, model: str) -> str | MmprefError:
        broken = sample.image is not None and sample.image.name == "broken"
        return ImageError("broken") if broken else f"{model}: {sample.messages[-1].content}"


def _cached(counting: _Counting, recipe: EvaluateRecipe = RECIPE, identity: Any = None) -> CachedAnswerer:
    return cast(CachedAnswerer, shared(cast(LocalAnswerer, counting), recipe, identity or IDENTITY))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(FOLDER, str(tmp_path / "answers"))
    return tmp_path / "answers"


def test_what_was_asked_is_not_asked_again(folder: Path) -> None:
    first, second = _Counting(), _Counting()
    answers = _cached(first)([SAMPLE], 8, ["base", "adapter"])
    assert _cached(second)([SAMPLE], 8, ["base", "adapter"]) == answers
    assert answers == {"base": ["base: Is it?"], "adapter": ["adapter: Is it?"]}
    assert (first.asked, second.asked) == (2, 0)
    other = {**IDENTITY, "adapter": {"id": "me/other", "revision": None, "weights": "1"}}
    third = _Counting()
    assert _cached(third, identity=other)([SAMPLE], 8, ["base", "adapter"]) == answers
    assert third.asked == 1, "the base is the same, whichever adapter is beside it"


OTHERS: list[tuple[str, Any]] = [
    ("sample", dataclasses.replace(SAMPLE, image=ImageData(b"other"))),
    ("sample", dataclasses.replace(SAMPLE, image=None)),
    ("sample", dataclasses.replace(SAMPLE, messages=(Message("user", "Is it not?"),))),
    ("sample", dataclasses.replace(SAMPLE, messages=(Message("system", "Be brief."), *SAMPLE.messages))),
    ("limit", 9),
    ("recipe", {"dtype": "bfloat16"}),
    ("recipe", {"quantization": "4bit"}),
    ("recipe", {"device_map": "cpu"}),
    ("recipe", {"trust_remote_code": True}),
    ("recipe", {"blind": "masked"}),
    ("recipe", {"thinking": ("<a> </a>",)}),
    ("model", {"revision": "c" * 40}),
    ("model", {"id": "me/other"}),
    ("model", {"files": "sha256:0"}),
    ("adapter", {"weights": "1"}),
    ("adapter", {"config": "sha256:0"}),
]


@pytest.mark.parametrize(("what", "value"), OTHERS, ids=lambda value: str(value)[:30])
def test_whatever_decides_an_answer_is_in_its_key(what: str, value: Any, folder: Path) -> None:
    _cached(_Counting())([SAMPLE], 8, ["adapter"])
    recipe = dataclasses.replace(RECIPE, **value) if what == "recipe" else RECIPE
    identity = {**IDENTITY, what: {**IDENTITY[what], **value}} if what in IDENTITY else IDENTITY
    counting = _Counting()
    asked = value if what == "sample" else SAMPLE
    _cached(counting, recipe, identity)([asked], value if what == "limit" else 8, ["adapter"])
    assert counting.asked == 1


@pytest.mark.parametrize("package", ["torchvision", "tokenizers", "pillow", "flash-attn"])
def test_another_version_of_a_library_is_asked_anew(
    package: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _cached(_Counting())([SAMPLE], 8, ["base"])
    own = manifest.version
    monkeypatch.setattr(manifest, "_version", lambda name: "0.0" if name == package else own(name))
    counting = _Counting()
    _cached(counting)([SAMPLE], 8, ["base"])
    assert counting.asked == 1


def test_failures_and_damaged_files_are_asked_again(folder: Path) -> None:
    broken = dataclasses.replace(SAMPLE, id="2", image=ImageData(b"?", "broken"))
    counting = _Counting()
    answers = _cached(counting)([broken, SAMPLE], 8, ["base"])["base"]
    assert isinstance(answers[0], ImageError)
    (file,) = folder.rglob("*.json")
    file.write_text('{"answer": "ba')
    assert _cached(counting)([broken, SAMPLE], 8, ["base"])["base"][1] == "base: Is it?"
    assert counting.asked == 4
    assert json.loads(file.read_text()) == {"answer": "base: Is it?"}


def _ask_again(samples: Sequence[Sample], start: int) -> None:
    """In a process of its own: each answer is whole, whoever wrote it."""
    for _ in range(5):
        rows = [*samples[start:], *samples[:start]]
        answers = _cached(_Counting())(rows, 8, ["base"])["base"]
        assert answers == [f"base: {row.id}?" for row in rows]
        for file in Path(os.environ[FOLDER]).rglob("*.json"):
            if int(file.name[0], 16) % 3 == start % 3:
                file.unlink(missing_ok=True)  # to be written again, while others read it


def test_several_write_at_once(folder: Path) -> None:
    """Each reader sees a whole answer or none, while others write the same ones."""
    samples = [dataclasses.replace(SAMPLE, id=str(n), messages=(Message("user", f"{n}?"),)) for n in range(20)]
    processes = [_FORK.Process(target=_ask_again, args=(samples, 5 * number)) for number in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert not list(folder.rglob("*.tmp"))


def test_only_where_it_is_wanted_and_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    answerer = cast(LocalAnswerer, _Counting())
    monkeypatch.delenv(FOLDER, raising=False)
    assert shared(answerer, RECIPE, IDENTITY) is answerer
    monkeypatch.setenv(FOLDER, str(tmp_path))
    unknown = {**IDENTITY, "model": {"id": "me/vlm", "revision": None, "files": None}}
    assert shared(answerer, RECIPE, unknown) is answerer


def test_a_second_adapter_asks_the_base_nothing(
    make_adapter: MakeAdapter, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Real runs: the same numbers as without, and of the base no new file."""
    adapters = [make_adapter(tmp_path / f"adapter{seed}", seed) for seed in (1, 2)]
    settings: dict[str, Any] = {"benchmark": {"pope": SETTINGS["pope"]}, "limit": 12}
    counts = []
    for number, adapter in enumerate(adapters):
        recipe = EvaluateRecipe(MODEL, ("pope",), adapter=str(adapter), **settings)
        with_cache = evaluate(recipe, tmp_path / f"run{number}")
        counts.append(len(list(folder.rglob("*.json"))))
    asked = counts[0] // 2
    assert counts == [2 * asked, 3 * asked]
    monkeypatch.delenv(FOLDER)
    assert evaluate(recipe, tmp_path / "without")["results"] == with_cache["results"]


def test_the_folder_may_be_of_the_users_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv(FOLDER, "~/answers")
    _cached(_Counting())([SAMPLE], 8, ["base"])
    assert list((tmp_path / "answers").rglob("*.json"))


def _asked_anew() -> bool:
    counting = _Counting()
    _cached(counting)([SAMPLE], 8, ["base"])
    return bool(counting.asked)


def test_another_number_of_threads_is_asked_anew(folder: Path) -> None:
    before = torch.get_num_threads()
    assert _asked_anew()
    try:
        torch.set_num_threads(before + 1)
        assert _asked_anew()
    finally:
        torch.set_num_threads(before)
    assert not _asked_anew()


def test_another_device_is_asked_anew(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two GPUs round otherwise, and so does one that shares a model with another kind."""
    machine = ["NVIDIA A", "NVIDIA B"]
    for name, value in (
        ("is_available", lambda: True),
        ("device_count", lambda: len(machine)),
        ("current_device", lambda: 0),
        ("get_device_name", lambda number=0: machine[number]),
        ("get_device_capability", lambda number=0: (9, 0)),
    ):
        monkeypatch.setattr(torch.cuda, name, value)
    spread = dataclasses.replace(RECIPE, device_map="auto")
    asked = []
    for first, second in (("A", "B"), ("A", "C"), ("C", "A")):
        machine[:] = [first, second]
        for recipe in (RECIPE, spread):
            counting = _Counting()
            _cached(counting, recipe)([SAMPLE], 8, ["base"])
            asked.append(bool(counting.asked))
    assert asked == [True, True, False, True, True, True]
