"""What a call leaves as it was: the number of torch's threads, which small models and resumed runs set."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def threads_restored(uses_model: bool = True) -> Iterator[None]:
    """Within it torch's threads may be set; afterwards they are as many as before.

    Args:
        uses_model: whether the work may load torch at all.
    """
    if not uses_model:
        yield
        return
    import torch

    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
