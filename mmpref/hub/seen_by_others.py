"""What of others goes into a public repository: records, pairs and weights of what not everybody may see, and names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from huggingface_hub import HfApi
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

from mmpref.errors import HubError
from mmpref.hub._calls import CALL_ERRORS, Calls, Retry
from mmpref.hub.access import RepoType
from mmpref.hub.training_data import hub_datasets, read_by
from mmpref.hub_ids import is_commit, is_hub_id
from mmpref.log import logger
from mmpref.origins.earlier_data import EARLIER
from mmpref.run.manifest import is_whole_model

PRIVATE = "private or gone"
GATED = "gated"
_MODELS = ("model", "adapter", "began", "asked", "embedders")
"""Keys of a manifest that hold facts of a model, or of several."""


class Source(NamedTuple):
    """A repository that a run read."""

    kind: RepoType
    repo_id: str


def sources_of(manifest: Mapping[str, Any], base_hub_id: str | None = None) -> list[Source]:
    """What of the Hub a run read, each once.

    Args:
        base_hub_id: the Hub id that stands for its base.
    """
    models = [base_hub_id] if base_hub_id else []
    models += [entry["id"] for key in _MODELS for entry in _entries(manifest.get(key)) if _of_hub(entry)]
    tables = [*read_by(manifest), *(manifest.get(EARLIER) or ()), *_benchmarks(manifest)]
    tables += [entry for key in ("held_out", "excluded") for entry in _entries(manifest.get(key))]
    tables += _entries([asked.get("data") for asked in (manifest.get("watched") or {}).values()])
    found = [Source("model", name) for name in models] + [Source("dataset", name) for name in hub_datasets(tables)]
    return list(dict.fromkeys(found))


def content_of(manifest: Mapping[str, Any], base_hub_id: str | None, records: bool, merged: bool) -> list[Source]:
    """Those whose rows or weights are in what is published.

    Args:
        records: those of an evaluation are published.
        merged: a whole model is, which an adapter was merged into.
    """
    if records:
        return [Source("dataset", name) for name in hub_datasets(_benchmarks(manifest))]
    if merged or is_whole_model(manifest):
        base = manifest["model"]
        name = base_hub_id or (base["id"] if _of_hub(base) else None)
        return [Source("model", name)] if name else []
    return []


def refuse_content(content: Sequence[Source], repo_id: str, api: HfApi, accepted: bool) -> None:
    """Refuse to put rows or weights into a public repository that not everybody may read where they come from.

    Args:
        content: as of `content_of`.
        repo_id: the public repository.
        accepted: the user says that all may read them (``--accept-private``).

    Raises:
        HubError: one is private, gone or gated, or the Hub does not tell.
    """
    for source in () if accepted else content:
        calls = Calls(source.repo_id, api.endpoint, str(api.token), Retry(attempts=3))
        if seen := calls.run("see whether it is public", partial(_state, source, api)):
            what = "rows" if source.kind == "dataset" else "weights"
            raise HubError(
                f"{what.capitalize()} of the {source.kind} {source.repo_id}, which is {seen}, would go into the public "
                f"repository {repo_id}; nothing was uploaded.",
                "Publish with --private, or to a private repository. If all may have them, publish the run by `mmpref "
                "publish` with --accept-private.",
            )


def warn_of_names(manifest: Mapping[str, Any], named: Sequence[Source], made: RepoType, api: HfApi) -> None:
    """Say what the card of a public model or dataset names that others cannot see.

    Args:
        manifest: of what is published.
        named: as of `sources_of`.
        made: the kind of repository that it goes to.
    """
    pairs = hub_datasets(read_by(manifest)) if "source" in manifest else []
    for source in named:
        try:
            if _state(source, api) != PRIVATE:
                continue
        except CALL_ERRORS:
            return
        logger.warning(
            "Warning: the card names the %s %s, which is %s: others read its name%s, and cannot %s. Make it public, or "
            "the %s private.",
            source.kind,
            source.repo_id,
            PRIVATE,
            " and the rows that were made of it" if source.kind == "dataset" and source.repo_id in pairs else "",
            "load it" if source.kind == "model" else "train on it" if manifest["command"] == "train" else "read it",
            made,
        )


def _state(source: Source, api: HfApi) -> str | None:
    """Why not everybody may read a repository; None where all may."""
    try:
        info = api.repo_info(source.repo_id, repo_type=source.kind, token=False)
    except GatedRepoError:
        return GATED
    except RepositoryNotFoundError:
        return PRIVATE
    return GATED if getattr(info, "gated", False) else None


def _benchmarks(manifest: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The facts of the data that an evaluation asked about."""
    return list(_entries(manifest.get("data"))) if manifest["command"] == "evaluate" else []


def _entries(value: Any) -> Iterator[Mapping[str, Any]]:
    """The facts that stand under a key: of one thing, of a list of them, or of each by its name."""
    if isinstance(value, list):
        yield from (entry for entry in value if isinstance(entry, Mapping) and "id" in entry)
    elif isinstance(value, Mapping):
        yield from [value] if "id" in value else _entries(list(value.values()))


def _of_hub(entry: Mapping[str, Any]) -> bool:
    return is_commit(entry.get("revision")) and is_hub_id(str(entry["id"]))
