"""Why a model or an adapter cannot be loaded, and what helps against that very cause."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from mmpref.errors import MmprefError, ModelError, is_out_of_memory, reason_of

_EXTRAS = {"torchvision": "vision", "num2words": "vision", "bitsandbytes": "quantization"}
"""Libraries that models ask for, and the extras of mmpref that bring them."""
_SHOWN, _LONGEST = 3, 400


@contextlib.contextmanager
def load_errors(what: str, base: str | None = None) -> Iterator[None]:
    """Turn what other libraries raise while they load something into a `ModelError` whose hint fits the cause.

    Args:
        what: such as ``model ID``.
        base: of an adapter, the model that it names as its own.

    Raises:
        ModelError: in place of their errors.
    """
    try:
        yield
    except MmprefError:
        raise
    except (OSError, ValueError, TypeError, ImportError, KeyError, AttributeError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise
        reason = reason_of(error)
        shown = reason if len(reason) <= _LONGEST else f"{reason[:_LONGEST]} ..."
        raise ModelError(f"Cannot load the {what}: {shown}", _hint(error, reason, base)) from error


def _hint(error: Exception, reason: str, base: str | None) -> str:
    for library, extra in _EXTRAS.items():
        if re.search(rf"{library}\b", reason, re.IGNORECASE) and (
            isinstance(error, ImportError) or "not found" in reason or "install" in reason
        ):
            return f"It needs {library}: pip install 'mmpref[{extra}]'"
    if isinstance(error, ImportError):
        return "Install the library that it names."
    if base and re.search("size mismatch|[Tt]arget modules", reason):
        return f"Its adapter_config.json names {base} as its base: is that the --model?"
    if base is not None:
        return "Is it a folder or repository that PEFT wrote, for this very base?"
    return "Check the name, and that the Hub can be reached; a local folder needs config.json."


def some(names: list[str]) -> str:
    """The first few of many names, and how many more there are."""
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
