"""What a call leaves as it was: the number of torch's threads and the states of the random generators, which small
models, resumed runs and training set."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator


@contextlib.contextmanager
def process_restored(uses_model: bool = True) -> Iterator[None]:
    """Within it torch's threads may be set and random numbers drawn; afterwards both are as before.

    Args:
        uses_model: whether the work may load torch at all.
    """
    if not uses_model:
        yield
        return
    import numpy as np
    import torch

    threads = torch.get_num_threads()
    drawn, drawn_by_numpy, drawn_by_torch = random.getstate(), np.random.get_state(), torch.get_rng_state()
    on_devices = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        random.setstate(drawn)
        np.random.set_state(drawn_by_numpy)
        torch.set_rng_state(drawn_by_torch)
        if on_devices:
            torch.cuda.set_rng_state_all(on_devices)
