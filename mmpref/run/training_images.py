"""Which images an adapter was trained on, in a file beside it: an evaluation tells by it what it asks about again.

Images are known by their bytes: a copy under another name is the same image, one that was encoded anew is another
(``build-dataset --exclude-images-of`` looks at what they show).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from mmpref.errors import InputError
from mmpref.run.files import write_atomic
from mmpref.text_files import read_text

TRAINING_IMAGES = "training_images.txt"
_DIGITS = 16
"""Of each digest, in hexadecimal: ten million images and as many others agree by chance in one of 180,000 cases."""


def shortened(digest: bytes) -> str:
    """The first 64 bits of the SHA-256 of an encoded image."""
    return digest.hex()[:_DIGITS]


def write_training_images(folder: Path, digests: Iterable[str]) -> None:
    """Write the digests of a training's images, each once, sorted, a line each."""
    write_atomic(folder / TRAINING_IMAGES, "".join(f"{digest}\n" for digest in sorted(set(digests))))


def read_training_images(file: Path | None) -> frozenset[str]:
    """The digests that a file holds; none where there is no such file, or it cannot be read."""
    try:
        return frozenset(read_text(file).split()) if file else frozenset()
    except (InputError, OSError):
        return frozenset()
