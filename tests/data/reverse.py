"""A builder without a model: the rejected answer is the chosen one, word order reversed.

`main` builds a dataset with it, in a process of its own, and dies where the test wants::

    {"recipe": {...}, "output": "...", "shard": [0, 2], "kill_at": 7, "file_limit": 9000}
"""

from __future__ import annotations

import json
import os
import resource
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmpref.data.builder import Builder, Context
from mmpref.errors import ImageError, ModelError
from mmpref.types import Example, Pair, Skip


@dataclass(frozen=True)
class Settings:
    """``wait``: seconds a block; ``poison``: answer or ids it breaks on (``every``: all; ``every, and an image``: all,
    one of them by its image); ``second``: two rejected."""

    iterations: int = 3
    similarity_threshold: float = 0.9
    wait: float = 0.0
    poison: str = ""
    second: bool = False


class Worker:
    def __init__(self, context: Context, settings: Settings) -> None:
        self.seed, self.settings = context.seed, settings

    def __call__(self, block: Sequence[Example]) -> list[Pair | Skip]:
        time.sleep(self.settings.wait)
        return [self._pair(example) for example in block]

    def _pair(self, example: Example) -> Pair | Skip:
        if self.settings.poison == "no model":
            raise ModelError("The model is gone.")
        if self.settings.poison == "memory":
            raise MemoryError("cannot allocate")
        if self.settings.poison == "every, and an image" and example.id == "row1":
            raise ImageError("too narrow")
        if self.settings.poison in (
            "every",
            "every, and an image",
            example.answer,
        ) or example.id in self.settings.poison.split(","):
            raise ZeroDivisionError("cannot digest\nthis answer")
        words = example.answer.split()
        if len(words) < 2:
            return Skip(example.id, "same-as-chosen")
        second = "Nothing." if self.settings.second and example.id.endswith("3") else None
        similarity = len(words) / 10
        tries = 3 if similarity >= self.settings.similarity_threshold else 1 + len(words) % 2
        return Pair(example, " ".join(reversed(words)), "reverse", similarity, tries, self.seed, second)


BUILDER = Builder(
    config=lambda: Settings,
    worker=Worker,
    tries=lambda settings: (settings.iterations, settings.similarity_threshold),
)


def main(given: dict[str, Any]) -> None:
    from mmpref.data.build import build_dataset
    from mmpref.data.recipe import BuildRecipe
    from mmpref.recipes.schema import build
    from mmpref.registry import _modules

    _modules("mmpref.builders")["reverse"] = "tests.data.reverse"
    if "kill_at" in given:
        _die_at(given["kill_at"])
    if "file_limit" in given:
        resource.setrlimit(resource.RLIMIT_FSIZE, (given["file_limit"],) * 2)
    shard = tuple(given["shard"]) if "shard" in given else None
    made = build_dataset(build(BuildRecipe, given["recipe"]), Path(given["output"]), shard=shard)  # type: ignore[arg-type]
    print(json.dumps(made))


def _die_at(moment: int) -> None:
    """SIGKILL before the so-many-th time that something is put into place or made durable."""
    left = moment

    def counted(action: Callable[..., Any]) -> Callable[..., Any]:
        def act(*arguments: Any, **named: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return action(*arguments, **named)

        return act

    os.replace, os.fsync, os.unlink = counted(os.replace), counted(os.fsync), counted(os.unlink)
