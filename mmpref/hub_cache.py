"""What the cache has of the Hub is read from there where the Hub does not answer, and not waited for.

huggingface_hub asks the Hub about every file that a model may have, for ten seconds each, and for minutes where the
cache lacks it, be it because the repository does. Here the Hub is asked one question, for two seconds; where no
answer comes, and the cache has the weights, the libraries work on the cache alone. What is not cached is waited for.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from mmpref.errors import InputError
from mmpref.hub_ids import is_commit
from mmpref.log import logger
from mmpref.registry import resolve_path
from mmpref.text_files import read_text

PATIENCE = 2.0
"""Seconds that the Hub has to answer where the cache knows the answer too; HF_HUB_ETAG_TIMEOUT sets others."""
_REMEMBERED = 60.0
"""Seconds that it is not asked again whether it answers."""
_BUSY = (429, 500, 502, 503, 504)

_answers: dict[str, tuple[bool, float]] = {}
"""By endpoint: whether it answered, and when that was, on the monotonic clock."""


def http_error() -> type[Exception]:
    """The HTTP library's own base class (httpx or httpx2, as huggingface_hub's version has it)."""
    from huggingface_hub.errors import HfHubHTTPError

    base: type[Exception] = HfHubHTTPError.__mro__[1]
    return base


def patience() -> float:
    """Seconds."""
    return float(os.environ.get("HF_HUB_ETAG_TIMEOUT") or PATIENCE)


def note(endpoint: str, answered: bool) -> None:
    """Remember for a minute whether the Hub at an address answered."""
    _answers[endpoint.rstrip("/")] = answered, time.monotonic()


def was_silent() -> bool:
    """Whether the Hub gave no answer when it was asked, within the last minute."""
    return _noted() is False


def is_silence(error: Exception) -> bool:
    """Whether an error of huggingface_hub says that no answer came: no connection, no time, or a Hub that is busy."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    if isinstance(error, HfHubHTTPError):
        return error.response.status_code in _BUSY
    return not isinstance(error, OfflineModeIsEnabled | HFValidationError)


def _noted() -> bool | None:
    """Whether the Hub answered within the last minute; None where it was not asked."""
    from huggingface_hub import constants

    answered, when = _answers.get(constants.ENDPOINT, (None, 0.0))
    return answered if time.monotonic() - when < _REMEMBERED else None


def commit_at(repo_id: str, revision: str | None, file: str) -> str:
    """The commit of a model's repository at a revision; of the cache, where the Hub does not answer in time.

    Args:
        file: one that the repository has.

    Raises:
        OSError: no such repository, revision or file, or no answer, and the cache has none.
    """
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    # The cache keeps each commit in a folder of its name.
    cached = try_to_load_from_cache(repo_id, file, revision=revision or "main")
    if isinstance(cached, str):
        known = Path(cached).parent.name
        if is_commit(revision) or _asked(repo_id, revision or "main", file) in (None, known):
            return known
    return Path(hf_hub_download(repo_id, file, revision=revision)).parent.name


@contextlib.contextmanager
def cache_if_silent(repo_id: str, commit: str | None, file: str = "config.json") -> Iterator[None]:
    """Within it the libraries read a model from the cache alone, where the Hub does not answer and its weights are
    there.

    Args:
        commit: as `commit_at` gave it; anything else is of a folder, which needs no Hub.
        file: one that the repository has.
    """
    from huggingface_hub import constants

    if (
        not is_commit(commit)
        or Path(resolve_path(repo_id)).exists()
        or constants.is_offline_mode()
        or _answers_now(repo_id, file)
    ):
        yield
        return
    assert commit is not None
    what = f"{constants.ENDPOINT} does not answer: {repo_id} at {commit[:8]} is"
    if not _has_weights(_snapshot(repo_id, commit)):
        logger.info("%s not cached whole, and waited for.", what)
        yield
        return
    logger.info("%s read from the cache.", what)
    with _offline():
        yield


def _answers_now(repo_id: str, file: str) -> bool:
    noted = _noted()
    return noted if noted is not None else _asked(repo_id, "main", file) is not None


def _asked(repo_id: str, revision: str, file: str) -> str | None:
    """The commit that the Hub names, "" where it refuses the question; None where it does not answer in time."""
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import HFValidationError

    if was_silent():
        return None
    url = hf_hub_url(repo_id, file, revision=revision)
    found: list[str] = []

    def ask() -> None:
        try:
            found.append(get_hf_file_metadata(url, timeout=patience()).commit_hash or "")
        except (http_error(), OSError, HFValidationError) as error:  # no answer is a café's page too: it has no commit
            if not is_silence(error):
                found.append("")

    answered = within(patience(), ask) and bool(found)
    note(constants.ENDPOINT, answered)
    return found[0] if answered else None


def within(seconds: float, work: Callable[[], None]) -> bool:
    """Whether work was done in time: a look-up of names has no limit of its own, nor an answer that comes in drops."""
    thread = threading.Thread(target=work, name="mmpref-hub", daemon=True)
    thread.start()
    thread.join(seconds)
    return not thread.is_alive()


@contextlib.contextmanager
def _offline() -> Iterator[None]:
    """Within it huggingface_hub, transformers and PEFT ask the Hub nothing."""
    from huggingface_hub import constants

    name = "HF_HUB_OFFLINE"
    before, variable = constants.HF_HUB_OFFLINE, os.environ.get(name)
    constants.HF_HUB_OFFLINE, os.environ[name] = True, "1"
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
        if variable is None:
            del os.environ[name]
        else:
            os.environ[name] = variable


def _snapshot(repo_id: str, commit: str) -> Path:
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    return Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repo_id, repo_type="model") / "snapshots" / commit


def _has_weights(folder: Path) -> bool:
    """Whether weights are there, and every file of them that an index names."""
    for index in folder.rglob("*.index.json"):
        with contextlib.suppress(InputError, ValueError, AttributeError):
            names = set(json.loads(read_text(index)).get("weight_map", {}).values())
            if names and all((index.parent / name).is_file() for name in names):
                return True
    singles = ("model.safetensors", "pytorch_model.bin", "adapter_model.safetensors", "adapter_model.bin")
    return any(file.is_file() for name in singles for file in folder.rglob(name))
