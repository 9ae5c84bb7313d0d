"""Why a model or an adapter cannot be loaded, and what helps against that very cause."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from mmpref.errors import MmprefError, ModelError, excerpt, is_out_of_memory, reason_of
from mmpref.hub_cache import not_found_here, unwritable
from mmpref.local_paths import path_hint

_EXTRAS = {"torchvision": "vision", "num2words": "vision", "bitsandbytes": "quantization"}
"""Libraries that models ask for, and the extras of mmpref that bring them."""
_PICKLED = "its weights are a pickle that holds more than numbers, which may run code when it is read"
_OWN_CODE = "it comes with code of its own, which was not run"
_SHOWN, _LONGEST = 3, 400


@contextlib.contextmanager
def load_errors(what: str, base: str = "", name: str = "") -> Iterator[None]:
    """Turn what other libraries raise while they load something into a `ModelError` whose hint fits the cause.

    Args:
        what: such as ``model ID`` or ``adapter ID``.
        base: the model that an adapter names as its own, where another is to take it.
        name: of what is loaded, where it may be the path of a folder that is not there.

    Raises:
        ModelError: in place of their errors.
    """
    try:
        yield
    except MmprefError:
        raise
    except Exception as error:  # files of other people, read by other libraries: anything may come
        if is_out_of_memory(error):
            raise
        reason = not_found_here(error, name) or _reason(error)
        shown = excerpt(f"{reason.rstrip('.')}.", _LONGEST)
        raise ModelError(
            f"Cannot load the {what}: {shown}", f"{path_hint(name, '')} {_hint(error, reason, what, base)}".strip()
        ) from error


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"{error} is not known here"
    # What PyTorch and transformers say of these is how to have the code run.
    if "weights_only" in str(error):
        return _PICKLED
    return _OWN_CODE if needs_own_code(error) else reason_of(error)


def needs_own_code(error: Exception) -> bool:
    """Whether transformers refused what comes with code of its own, and was not told to trust it."""
    return "trust_remote_code=True" in str(error)


def _hint(error: Exception, reason: str, what: str, base: str) -> str:
    if cache := unwritable(error):
        return cache
    for library, extra in _EXTRAS.items():
        missing = isinstance(error, ImportError) or re.search("install|not found", reason)
        if missing and re.search(rf"{library}\b", reason, re.IGNORECASE):
            return f"It needs {library}: pip install 'mmpref[{extra}]'"
    if reason == _OWN_CODE:
        return "Read it: of --model, build-dataset, train and evaluate run it with --set trust_remote_code=true."
    if reason == _PICKLED:
        return "It was not read. Take, or ask its author for, weights as safetensors."
    if isinstance(error, ImportError):
        return "Install the library that it names."
    if re.search("deserializ|[Uu]npickling|pickle data|PytorchStreamReader", f"{type(error).__name__}: {reason}"):
        return "Its weights are not whole: a broken download, or a pointer that Git LFS has not replaced?"
    if not what.startswith("adapter"):
        return "Check the name, and that the Hub can be reached; a local folder needs config.json."
    if base:
        return f"Its adapter_config.json names {base} as its base: is that the --model?"
    if re.search("size mismatch|[Tt]arget modules", reason):
        return "Its adapter_config.json does not describe its weights, or this base is another than it was trained on."
    return "Check the name, and that the Hub can be reached; it must be what PEFT saved."


def first_few(names: list[str]) -> str:
    """The first few of many names, and how many more there are."""
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
