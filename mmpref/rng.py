"""Random streams named by what they are for, so that a result never depends on batch, order or process."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def stream(seed: int, *names: str | int) -> np.random.Generator:
    """A generator derived from the run's seed and a path of names, such as ``stream(0, "img-17", 2, "mask")``."""
    import numpy as np

    path = "\x1f".join([str(seed), *map(str, names)])
    return np.random.default_rng(int.from_bytes(hashlib.sha256(path.encode()).digest()[:16], "big"))
