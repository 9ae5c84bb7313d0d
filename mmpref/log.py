"""The one logger: what mmpref says beside its results, on stderr where the command line runs."""

import contextlib
import logging
from collections.abc import Iterator

logger = logging.getLogger("mmpref")


@contextlib.contextmanager
def errors_only() -> Iterator[None]:
    """Within it a process that does not write logs nothing but errors."""
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
