"""The error tree. A message says what happened and where; a hint says what to do about it."""

from __future__ import annotations

import contextlib
import re
import textwrap
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmpref.types import ImageData


def brief(text: str, limit: int = 200) -> str:
    """The text, cut where it is longer than ``limit``: a cell of an untrusted row may hold megabytes, which belong into
    no message and no report."""
    return text if len(text) <= limit else f"{text[:limit]}... ({len(text):,} characters)"


def excerpt(text: str, limit: int) -> str:
    """The text on one line and of so many characters at most, ended between words, so that no address in it is cut."""
    return textwrap.shorten(text, limit, placeholder=" ...", break_on_hyphens=False)


def row_at(number: int) -> str:
    """How messages name a row of a table: by its index, as ids and the ``datasets`` library count, and so that it is
    not taken for a line of a file."""
    return f"row {number} (counted from 0)"


def reason_of(error: Exception) -> str:
    """What another library's error says, on one line, bounded, and without memory addresses: equal in equal runs."""
    text = re.sub(r" ?<[^<>]* at 0x[0-9a-fA-F]+>|0x[0-9a-fA-F]{8,}", "", str(error)[:4000])
    return brief(" ".join(text.split()), 600) or type(error).__name__


def is_out_of_memory(error: Exception) -> bool:
    """Whether it says that memory does not suffice; torch says it in one way for accelerators, in others for CPUs."""
    says_so = isinstance(error, RuntimeError) and re.search("not enough memory|can't allocate memory", str(error))
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or bool(says_so)


def is_killed_worker(error: Exception) -> bool:
    """Whether it says that a worker process of torch's is gone; torch says so wherever the main thread just is."""
    return isinstance(error, RuntimeError) and str(error).startswith("DataLoader worker")


class MmprefError(Exception):
    """An error that a user can act on; the command line prints it as one ``Error:`` line and exits 1.

    Args:
        message: what happened, and where (file, row, column).
        hint: what to do about it; printed after the message.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class UsageError(MmprefError):
    """The command was called wrongly: unknown name, unknown option, options that contradict each other."""

    exit_code = 2


class InputError(MmprefError):
    """A file, row, column or image that the user gave cannot be used."""


class AbsentColumnError(InputError):
    """Columns that a user names are in no row of a table.

    Args:
        absent: these columns, as the user calls them.
    """

    def __init__(self, message: str, hint: str = "", absent: Collection[str] = ()) -> None:
        super().__init__(message, hint)
        self.absent = absent


class ImageError(InputError):
    """One image cannot be used: corrupt, truncated, empty, too large, missing, or outside its root.

    Attributes:
        shown: the images, as they are stored, that were shown together when it was found; none where nobody says.
    """

    shown: tuple[ImageData, ...] = ()


class ChatTemplateError(InputError):
    """One conversation cannot be written in the model's prompt format: its chat template refuses the turns (a system's,
    a second image) or changes a text."""

    reason = "chat-template"


class ModelError(MmprefError):
    """A model cannot be loaded or is of a kind that mmpref does not support."""


class RunError(MmprefError):
    """A run directory cannot be used: another recipe's, locked by another process, or damaged."""


class StaleRunError(RunError):
    """A run of another recipe, or of inputs that have changed since: it is to be made elsewhere, or anew.

    Args:
        run: its folder.
    """

    def __init__(self, message: str, run: Path) -> None:
        super().__init__(message, f"Choose another --output, or delete {run} to make it anew.")
        self.run = run


class HubError(MmprefError):
    """The Hub refused, failed, or could not be reached."""


@contextlib.contextmanager
def memory_errors(work: str, hint: str) -> Iterator[None]:
    """Turn an allocation that fails, in this process or in a worker of torch's, into an error that a user can act on.

    Args:
        work: what the memory is for.

    Raises:
        RunError: in its place.
    """
    try:
        yield
    except MmprefError:
        raise
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise RunError(f"The memory does not suffice for {work}: {reason_of(error).rstrip('.')}.", hint) from error
