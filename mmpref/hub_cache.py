"""What the cache has of the Hub is read from there, whether the Hub answers, is slow or is away.

The libraries ask the Hub about every file that a model may have and has not, for ten seconds each, and for minutes
where the cache lacks it. Here the Hub is asked one question, for two seconds: which commit it has now, of which files.
Where the cache has those that are read, or where no answer comes and it has the weights, the libraries work on the
cache alone. What is not cached is waited for.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from mmpref.errors import InputError, reason_of
from mmpref.hub_commits import first_meaning
from mmpref.hub_ids import is_commit
from mmpref.log import logger
from mmpref.registry import resolve_path
from mmpref.text_files import read_json, read_text

PATIENCE = 2.0
"""Seconds that the Hub has to answer where the cache knows the answer too; HF_HUB_ETAG_TIMEOUT sets others."""
_REMEMBERED = 60.0
"""Seconds that it is not asked again whether it answers."""
OFFLINE_IS_SET = "HF_HUB_OFFLINE is set"
_UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENOSPC)
_BUSY = (429, 500, 502, 503, 504)

_ADAPTER = "adapter_config.json"
_CONFIGURATIONS = re.compile(
    r"(config|generation_config|processor_config|(video_)?preprocessor_config|tokenizer|tokenizer_config|chat_template"
    r"|special_tokens_map|added_tokens|modules|sentence_bert_config|config_sentence_transformers)\.json"
    r"|\d+_\w+/config\.json|tekken\.json|.*\.jinja"
)
"""Files that the libraries read of a repository that has them."""
_SAFETENSORS = re.compile(r"(adapter_)?model(-\d+-of-\d+)?\.safetensors(\.index\.json)?")
"""Weights that they take before any others, which may be of another training."""
_VOCABULARIES = re.compile(r"(vocab|merges)\.(json|txt)|[^/]*\.(model|tiktoken|spm)")
"""Those that they read where there is no tokenizer.json."""

_switch = threading.Lock()
_answers: dict[str, tuple[bool, float]] = {}
"""By endpoint: whether it answered, and when that was, on the monotonic clock."""
_unreached = ""
"""Why the Hub could not be reached when the libraries were told not to ask it."""
_listed: dict[tuple[str, str], frozenset[str]] = {}
"""By repository and commit, as the Hub told them: files, none where it refused the question."""


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


def go_offline(reason: str) -> None:
    """Tell the libraries, before they are imported, not to ask the Hub.

    Args:
        reason: why it could not be reached, such as ``Connection refused``.
    """
    global _unreached
    _unreached = reason
    os.environ["HF_HUB_OFFLINE"] = "1"


def why_unasked(error: BaseException | None = None) -> str:
    """Why the Hub could not be asked: whoever set HF_HUB_OFFLINE is told of it, and whom we set it for of the reason.

    Args:
        error: that a question to the Hub ended in.
    """
    from huggingface_hub import constants

    if constants.is_offline_mode():
        return f"it cannot be reached ({_unreached})" if _unreached else OFFLINE_IS_SET
    while error is not None and error.__cause__ is not None:
        error = error.__cause__
    said = re.sub(r"^\[Errno -?\d+\] ", "", reason_of(error)[:200]) if isinstance(error, Exception) else ""
    return said.rstrip(".") or "it cannot be reached"


def not_found_here(error: BaseException, name: str = "") -> str:
    """What an error of the libraries says where the cache lacks what they need, and the Hub cannot be asked for it.
    Empty where it says anything else.

    Args:
        name: of what is needed, where it may be the path of a folder.
    """
    from huggingface_hub import constants
    from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, LocalEntryNotFoundError | OfflineModeIsEnabled):
        cause = cause.__cause__
    if cause is None:
        return ""
    folder = "there is no such folder here, " if name and not Path(resolve_path(name)).exists() else ""
    why = why_unasked(cause)
    return f"{folder}the cache lacks files of it, and the Hub at {constants.ENDPOINT} cannot be asked: {why}"


def unwritable(error: BaseException) -> str:
    """What to do about an error that comes of a cache that cannot be written; empty where it comes of anything else."""
    from huggingface_hub import constants

    set_apart = [(name, os.environ[name]) for name in ("HF_HUB_CACHE", "HF_DATASETS_CACHE") if os.environ.get(name)]
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in _UNWRITABLE and cause.filename:
            for name, place in (*set_apart, ("HF_HOME", constants.HF_HOME)):
                if Path(str(cause.filename)).is_relative_to(Path(place).expanduser()):
                    why = os.strerror(cause.errno)
                    return f"The cache {place} cannot be written ({why}): set {name} to a folder that can."
        cause = cause.__cause__ or cause.__context__
    return ""


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
    return first_meaning(repo_id, revision, lambda at: _commit_at(repo_id, at, file))


def _commit_at(repo_id: str, revision: str | None, file: str) -> str:
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    # The cache keeps each commit in a folder of its name.
    cached = try_to_load_from_cache(repo_id, file, revision=revision or "main")
    if isinstance(cached, str):
        known = Path(cached).parent.name
        if is_commit(revision) or _asked(repo_id, revision or "main") in (None, known):
            return known
    return Path(hf_hub_download(repo_id, file, revision=revision)).parent.name


def commit_named(repo_id: str, revision: str | None) -> str | None:
    """The commit that the Hub says a model's branch, tag or commit is now; None where it does not answer in time, or
    refuses."""
    from huggingface_hub import constants

    return None if constants.is_offline_mode() else _asked(repo_id, revision or "main") or None


@contextlib.contextmanager
def cache_first(repo_id: str, commit: str | None) -> Iterator[None]:
    """Within it the libraries read a model from the cache alone, where it holds all that they read, or its weights and
    the Hub does not answer.

    Args:
        commit: as `commit_at` gave it; anything else is of a folder, which needs no Hub.
    """
    from huggingface_hub import constants

    if not is_commit(commit) or Path(resolve_path(repo_id)).exists() or constants.is_offline_mode():
        yield
        return
    assert commit is not None
    snapshot = snapshot_of(repo_id, commit)
    has_weights, files = _has_weights(snapshot), _files(repo_id, commit)
    if files is None:
        found = "read from the cache" if has_weights else "not cached whole, and waited for"
        logger.info("%s does not answer: %s at %s is %s.", constants.ENDPOINT, repo_id, commit[:8], found)
    if has_weights and (files is None or _is_whole(snapshot, files)):
        with _offline():
            yield
    else:
        yield


def file_at(repo_id: str, commit: str | None, file: str) -> Path | None:
    """A file of a model's repository that not all have; None where it has none, or none is cached and the Hub does not
    answer.

    Args:
        commit: as `commit_at` gave it.
    """
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    with contextlib.suppress(OSError, ValueError):
        cached = try_to_load_from_cache(repo_id, file, revision=commit)
        if isinstance(cached, str):
            return Path(cached)
        files = _files(repo_id, commit) if commit else frozenset[str]()
        if files is not None and (not files or file in files):
            return Path(hf_hub_download(repo_id, file, revision=commit))
    return None


def _files(repo_id: str, commit: str) -> frozenset[str] | None:
    """What a repository has at a commit, nothing where the Hub refuses to say; None where it does not answer."""
    if was_silent():
        return None
    if (repo_id, commit) not in _listed and _asked(repo_id, commit) is None:
        return None
    return _listed.setdefault((repo_id, commit), frozenset())


def _asked(repo_id: str, revision: str) -> str | None:
    """The commit that the Hub names, whose files are then known too; "" where it refuses the question, None where it
    does not answer in time."""
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HFValidationError

    if was_silent():
        return None
    found: list[str] = []

    def ask() -> None:
        try:
            told = HfApi().model_info(repo_id, revision=revision, timeout=patience())
        # The last three are of a café's page to sign in, or of what else answers in the Hub's place.
        except (http_error(), OSError, ValueError, TypeError, LookupError) as error:
            if isinstance(error, HFValidationError) or not is_silence(error):
                found.append("")
            return
        if told.sha:
            _listed[repo_id, told.sha] = frozenset(sibling.rfilename for sibling in told.siblings or ())
        found.append(told.sha or "")

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
    """Within it huggingface_hub, transformers and PEFT ask the Hub nothing. Of threads that load at once the first one
    says until when."""
    from huggingface_hub import constants

    name = "HF_HUB_OFFLINE"
    with _switch:
        ours, variable = not constants.is_offline_mode(), os.environ.get(name)
        if ours:
            constants.HF_HUB_OFFLINE, os.environ[name] = True, "1"
    try:
        yield
    finally:
        if ours:
            constants.HF_HUB_OFFLINE = False
            if variable is None:
                del os.environ[name]
            else:
                os.environ[name] = variable


def snapshot_of(repo_id: str, commit: str) -> Path:
    """Where the cache has a model at a commit, if it has it."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    return Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repo_id, repo_type="model") / "snapshots" / commit


def _is_whole(folder: Path, files: frozenset[str]) -> bool:
    """Whether the cache has what the libraries read, and they need nothing of another repository."""
    wanted = [name for name in files if _SAFETENSORS.fullmatch(name)]
    if _ADAPTER in files:
        # Beside a model's configuration: transformers loads the base that it names.
        return "config.json" not in files and all((folder / name).is_file() for name in (_ADAPTER, *wanted))
    configurations = [name for name in files if _CONFIGURATIONS.fullmatch(name)]
    if "tokenizer.json" not in files:
        wanted += [name for name in files if _VOCABULARIES.fullmatch(name)]
    wanted += configurations
    return bool(configurations) and all((folder / name).is_file() for name in wanted) and not _has_code(folder)


def _has_code(folder: Path) -> bool:
    """Whether a model comes with code, which may import files that no list here has."""
    with contextlib.suppress(InputError):
        return any("auto_map" in read_text(file) for file in folder.glob("*config.json"))
    return True


def _has_weights(folder: Path) -> bool:
    """Whether weights are there, and every file of them that an index names."""
    for index in folder.rglob("*.index.json"):
        with contextlib.suppress(InputError, AttributeError):
            names = set(read_json(index).get("weight_map", {}).values())
            if names and all((index.parent / name).is_file() for name in names):
                return True
    singles = ("model.safetensors", "pytorch_model.bin", "adapter_model.safetensors", "adapter_model.bin")
    return any(file.is_file() for name in singles for file in folder.rglob(name))
