"""What is said where a run is asked for again: that an input has changed since, or could not be looked at."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

from mmpref.errors import StaleRunError
from mmpref.log import warn
from mmpref.run.manifest import MANIFEST


def refuse_changed_input(run: Path, what: str) -> NoReturn:
    """Not to give what was made of one input as made of another, nor to go on with the other.

    Args:
        run: folder of the run, finished or not.
        what: has happened, such as ``The source rows.csv has changed``.

    Raises:
        StaleRunError: always.
    """
    raise StaleRunError(f"{what} since {run} was {'made' if (run / MANIFEST).is_file() else 'begun'}.", run)


def warn_unchecked(run: Path, what: str, reason: str) -> None:
    """Of an input that cannot be looked at any more: the run is good without it.

    Args:
        run: folder of the run.
        what: the input.
        reason: why not.
    """
    warn(f"whether {what} is still what {run} was made of could not be checked: {reason.rstrip('.')}.")
