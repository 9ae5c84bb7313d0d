"""What `mmpref doctor` finds: the environment, the Hub's token, the devices, and what a model will need of them."""

from __future__ import annotations

import importlib.util
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmpref.align.report_to import TRACKERS
from mmpref.errors import MmprefError
from mmpref.run.manifest import versions

if TYPE_CHECKING:
    from mmpref.vlm.costs import Sizes
    from mmpref.vlm.devices import Device

EXTRAS = {
    "vision": (("torchvision", "num2words"), "processors of Qwen-VL, SmolVLM2, Pixtral and others"),
    "quantization": (("bitsandbytes",), "--set quantization=4bit or 8bit"),
}
"""Of mmpref: the packages that they bring, and what needs them."""
PER = 1000
"""Pairs, or questions, that hours are told for."""


@dataclass(frozen=True)
class Extra:
    """name: as in ``pip install 'mmpref[NAME]'``; missing: packages of it that are not installed; serves: what."""

    name: str
    missing: tuple[str, ...]
    serves: str


@dataclass(frozen=True)
class Environment:
    """versions: of Python and of packages by name; system: operating system and machine; extras: of mmpref; trackers:
    those whose package is installed."""

    versions: dict[str, str]
    system: str
    extras: tuple[Extra, ...]
    trackers: tuple[str, ...]


@dataclass(frozen=True)
class Storage:
    """cache: huggingface_hub's folder; models, datasets: how many repositories it has; cache_free, runs_free: bytes
    free there and where runs go; memory, memory_free: bytes of the machine."""

    cache: str
    models: int
    datasets: int
    cache_free: int
    runs_free: int
    memory: int
    memory_free: int


@dataclass(frozen=True)
class Work:
    """What one command takes of one device.

    Args:
        command: ``build-dataset``, ``train``, ``train in 4 bits`` or ``evaluate``.
        memory: bytes.
        fits: whether the device has so many free, with a tenth to spare.
        hours: for `PER` pairs (in training, in the first epoch) or questions.
    """

    command: str
    memory: float
    fits: bool
    hours: float


@dataclass(frozen=True)
class Needs:
    """Of a model.

    Args:
        model, family: its name, and its ``model_type``.
        tested: whether tests run this family.
        sizes: counted from its configuration.
        image_tokens: of a picture of 640 x 480 pixels.
        measured_image: whether its processor said so; else it is assumed.
        problem: why its processor cannot be loaded, such as an extra that is missing; "" where it can.
        work: by device.
    """

    model: str
    family: str
    tested: bool
    sizes: Sizes
    image_tokens: int
    measured_image: bool
    problem: str
    work: dict[str, list[Work]]


def environment() -> Environment:
    """Without importing any of the libraries."""
    extras = tuple(
        Extra(name, tuple(package for package in packages if importlib.util.find_spec(package) is None), serves)
        for name, (packages, serves) in EXTRAS.items()
    )
    trackers = tuple(name for name in TRACKERS if importlib.util.find_spec(name) is not None)
    return Environment(versions(), f"{platform.system()} {platform.release()}, {platform.machine()}", extras, trackers)


def storage() -> Storage:
    """The cache is counted, not measured: that would take long."""
    import psutil
    from huggingface_hub import constants

    cache, memory = Path(constants.HF_HUB_CACHE), psutil.virtual_memory()
    return Storage(
        cache=str(cache),
        models=sum(1 for _ in cache.glob("models--*")),
        datasets=sum(1 for _ in cache.glob("datasets--*")),
        cache_free=shutil.disk_usage(_existing(cache)).free,
        runs_free=shutil.disk_usage(_existing(Path("runs").resolve())).free,
        memory=memory.total,
        memory_free=memory.available,
    )


def _existing(path: Path) -> Path:
    """The folder, or the nearest above it that is there."""
    return next(place for place in (path, *path.parents) if place.exists())


def needs(model: str, found: list[Device], revision: str | None = None, trust_remote_code: bool = False) -> Needs:
    """What the commands with the paper's settings take of each device, and of one H100, for a model whose configuration
    is read, and no weights.

    Raises:
        ModelError: no such model, a text-only model, or an unsupported architecture.
    """
    from transformers import AutoConfig

    from mmpref.api.checks import refuse_no_model
    from mmpref.registry import resolve_path
    from mmpref.types import ModelRef
    from mmpref.vlm.costs import IMAGE_TOKENS, sizes_of
    from mmpref.vlm.load import identify
    from mmpref.vlm.load_errors import load_errors

    refuse_no_model(model)
    family, commit = identify(ModelRef(model, revision), trust_remote_code)
    with load_errors(f"model {model}"):
        config = AutoConfig.from_pretrained(resolve_path(model), revision=commit, trust_remote_code=trust_remote_code)
        sizes = sizes_of(config, family, trust_remote_code=trust_remote_code)
    counted, problem = _image_tokens(model, commit, trust_remote_code)
    tokens = counted or IMAGE_TOKENS
    return Needs(
        model,
        family.model_type,
        family.tested,
        sizes,
        tokens,
        counted is not None,
        problem,
        {device.place: _work(sizes, tokens, device) for device in found},
    )


def h100() -> Device:
    """The device that `mmpref.vlm.costs` speaks of, to compare with."""
    from mmpref.vlm.costs import MEMORY, PEAK
    from mmpref.vlm.devices import Device

    return Device("H100", "one H100, for comparison", int(MEMORY), int(MEMORY), "bfloat16", PEAK)


def _work(sizes: Sizes, tokens: int, device: Device) -> list[Work]:
    from mmpref.vlm import costs

    width, peak = device.width, device.peak
    pair = costs.pair_hours(sizes.parameters, tokens + costs.PROMPT + 2 * costs.ANSWER, peak)
    rows = [
        ("build-dataset", costs.build_bytes(sizes, width), costs.bdhs_hours(sizes.parameters, peak)),
        ("train", costs.train_bytes(sizes, width, tokens), pair),
        ("train in 4 bits", costs.train_bytes(sizes, width, tokens, quantized=True), pair),
        (
            "evaluate",
            costs.evaluate_bytes(sizes, width, tokens),
            costs.forward_hours(sizes.parameters, tokens + costs.TEXT, peak),
        ),
    ]
    return [Work(name, memory, memory < 0.9 * device.free, PER * hours) for name, memory, hours in rows]


def _image_tokens(model: str, revision: str | None, trust_remote_code: bool) -> tuple[int | None, str]:
    """Tokens of a picture, where the processor says; and why it cannot be loaded."""
    from transformers import AutoProcessor

    from mmpref.hub_cache import cache_first
    from mmpref.registry import resolve_path
    from mmpref.vlm.load_errors import load_errors

    try:
        with load_errors(f"processor of {model}"), cache_first(model, revision):
            processor: Any = AutoProcessor.from_pretrained(
                resolve_path(model), revision=revision, trust_remote_code=trust_remote_code
            )
    except MmprefError as error:
        return None, str(error)
    try:  # What servers of models ask; not every processor knows the answer.
        return int(processor._get_num_multimodal_tokens(image_sizes=[(480, 640)]).num_image_tokens[0]), ""
    except (AttributeError, TypeError, ValueError, KeyError, IndexError, NotImplementedError):
        return None, ""
