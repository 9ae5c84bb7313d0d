"""mmpref: preference data, alignment and evaluation for vision-language models.

The functions do what the commands of the same names do, with the same options, defaults and recipes. They are loaded
when they are first used: ``import mmpref`` imports no torch.
"""

from functools import cache
from importlib import import_module
from inspect import isfunction
from typing import TYPE_CHECKING, Any

from mmpref.version import __version__

if TYPE_CHECKING:
    from mmpref.align.recipe import TrainRecipe
    from mmpref.api.build import build_dataset
    from mmpref.api.evaluate import compare, evaluate
    from mmpref.api.inspect import inspect
    from mmpref.api.iterate import iterate
    from mmpref.api.models import load_policy
    from mmpref.api.options import recipe
    from mmpref.api.publish import publish, stage
    from mmpref.api.results import (
        BuiltDataset,
        Compared,
        Evaluation,
        Inspection,
        Iterated,
        Publication,
        Staged,
        TrainedAdapter,
    )
    from mmpref.api.train import train
    from mmpref.bench.recipe import EvaluateRecipe
    from mmpref.data.recipe import BuildRecipe
    from mmpref.errors import MmprefError
    from mmpref.types import Example, ImageData, Message, ModelRef, Pair, Skip
    from mmpref.vlm.policy import Policy

__all__ = [
    "BuildRecipe",
    "BuiltDataset",
    "Compared",
    "EvaluateRecipe",
    "Evaluation",
    "Example",
    "ImageData",
    "Inspection",
    "Iterated",
    "Message",
    "MmprefError",
    "ModelRef",
    "Pair",
    "Policy",
    "Publication",
    "Skip",
    "Staged",
    "TrainRecipe",
    "TrainedAdapter",
    "__version__",
    "build_dataset",
    "compare",
    "evaluate",
    "inspect",
    "iterate",
    "load_policy",
    "publish",
    "recipe",
    "stage",
    "train",
]

_PLACES = {
    "BuildRecipe": "data.recipe",
    "EvaluateRecipe": "bench.recipe",
    "MmprefError": "errors",
    "Policy": "vlm.policy",
    "TrainRecipe": "align.recipe",
    "build_dataset": "api.build",
    "compare": "api.evaluate",
    "evaluate": "api.evaluate",
    "inspect": "api.inspect",
    "iterate": "api.iterate",
    "load_policy": "api.models",
    "publish": "api.publish",
    "recipe": "api.options",
    "stage": "api.publish",
    "train": "api.train",
    **dict.fromkeys(("Example", "ImageData", "Message", "ModelRef", "Pair", "Skip"), "types"),
    **dict.fromkeys(
        ("BuiltDataset", "Compared", "Evaluation", "Inspection", "Iterated", "Publication", "Staged", "TrainedAdapter"),
        "api.results",
    ),
}
"""The module of each name."""


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'mmpref' has no attribute {name!r}")
    return _public(name)


@cache
def _public(name: str) -> Any:
    value = getattr(import_module(f"mmpref.{_PLACES[name]}"), name)
    if not isfunction(value):
        return value
    from mmpref.api.wording import in_python

    return in_python(value)


def __dir__() -> list[str]:
    return sorted(__all__)
