"""The arithmetic of transformers' image processors on NumPy and Pillow, in a fraction of its time.

They convert every tile to float64 and back, divide it along strides, and resize tiles that have their size already.
Here 8-bit pixels are divided by 255 in float32, where that gives the same of each of the 256 values, tiles are
normalised channel by channel, and what has its size is left as it is: the same bytes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import cache, partial
from typing import Any

import numpy as np
from transformers.image_processing_backends import PilBackend
from transformers.image_transforms import rescale as rescaled


def quick_arithmetic(images: Any) -> contextlib.AbstractContextManager[None]:
    """Within it an image processor works so, where its class leaves these operations to transformers.

    Args:
        images: a processor's ``image_processor``; of another backend it stays as it is.
    """
    return replaced(images, _QUICK)


@contextlib.contextmanager
def replaced(images: Any, operations: Mapping[str, Callable[..., Any]]) -> Iterator[None]:
    """Within it an image processor does operations of transformers' otherwise, where its class leaves them to
    transformers, and nothing has replaced them already.

    Args:
        images: as of `quick_arithmetic`.
        operations: by name; the first argument of each is the operation that it stands for.
    """
    own = {
        name: other
        for name, other in operations.items()
        if getattr(type(images), name, None) is getattr(PilBackend, name) and name not in vars(images)
    }
    for name, other in own.items():
        setattr(images, name, partial(other, getattr(images, name)))
    try:
        yield
    finally:
        for name in own:
            delattr(images, name)


def is_plain(image: Any) -> bool:
    """Whether an image is 8-bit RGB, channels first."""
    return isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3 and len(image) == 3


def _resize(original: Any, image: Any, size: Any, *args: Any, **settings: Any) -> Any:
    if is_plain(image):
        height, width = image.shape[1:]
        by_edge = size.shortest_edge == min(height, width) and not size.longest_edge
        if by_edge or (not size.shortest_edge and not size.max_height and (size.height, size.width) == (height, width)):
            return image
    return original(image, size, *args, **settings)


@cache
def _divisor(scale: float) -> np.float32 | None:
    """What to divide 8-bit values by in float32 to get what transformers' rescaling makes of each of them, if that can
    be done."""
    values, divisor = np.arange(256, dtype=np.uint8).reshape(1, 16, 16), np.float32(round(1 / scale)) if scale else 0
    if divisor and np.array_equal(np.divide(values, divisor, dtype=np.float32), rescaled(values, scale=scale)):
        return np.float32(divisor)
    return None


def _rescale(original: Any, image: Any, scale: float, **settings: Any) -> Any:
    if is_plain(image) and (divisor := _divisor(scale)) is not None:
        return np.divide(image, divisor, dtype=np.float32)
    return original(image, scale, **settings)


def _normalize(original: Any, image: Any, mean: Any, std: Any, **settings: Any) -> Any:
    channels = len(image) if isinstance(image, np.ndarray) and image.ndim == 3 and image.dtype == np.float32 else 0
    if not all(isinstance(values, Collection) and len(values) == channels for values in (mean, std)):
        return original(image, mean, std, **settings)
    normal = image - np.array(mean, dtype=np.float32)[:, None, None]
    normal /= np.array(std, dtype=np.float32)[:, None, None]
    return normal


_QUICK: dict[str, Callable[..., Any]] = {"resize": _resize, "rescale": _rescale, "normalize": _normalize}
