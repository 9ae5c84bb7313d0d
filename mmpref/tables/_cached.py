"""Splits of Hub datasets out of the caches of ``datasets`` and huggingface_hub, where the Hub cannot be asked.

The ``datasets`` library itself would take the newest commit that it has; here it is the one that was resolved, or none.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmpref.errors import HubError
from mmpref.local_paths import FORMATS
from mmpref.registry import suggest
from mmpref.tables._repository import Repository
from mmpref.tables._shards import missing_shards, stem_of_shard

_DATA = (*FORMATS, ".zip", ".txt", ".png", ".jpg", ".jpeg", ".webp")


def cached_split(spec: str, repository: Repository, split: str, config: str | None) -> Any:
    """One split as a ``datasets.Dataset``: as the library prepared it before, else made of the cached files.

    Raises:
        HubError: neither is there, or some of the files are missing.
    """
    import datasets
    from datasets.naming import camelcase_to_snakecase
    from datasets.packaged_modules.cache.cache import Cache
    from huggingface_hub import constants

    owner, _, name = spec.rpartition("/")
    root = Path(datasets.config.HF_DATASETS_CACHE) / "___".join(filter(None, (owner, camelcase_to_snakecase(name))))
    configs = {place.parts[-3]: place for place in sorted(root.glob(f"*/*/{repository.commit}")) if place.is_dir()}
    config_name = config or (next(iter(configs)) if len(configs) == 1 else "default")
    if config_name in configs:
        builder = Cache(
            repo_id=spec,
            dataset_name=camelcase_to_snakecase(name),
            config_name=config_name,
            version=configs[config_name].parts[-2],
            hash=repository.commit,
        )
        return builder.as_dataset(split=split)
    snapshot = _snapshot(spec, repository.commit, constants.HF_HUB_CACHE)
    if not any((snapshot / name).is_file() for name in repository.files if name.endswith(_DATA)):
        also = f" {suggest(config_name, list(configs))}" if configs else ""
        raise HubError(
            f"The Hub cannot be asked, and of {spec} at {repository.commit} no data are cached here.{also}",
            "Run it once with a network, or fetch it: hf download --repo-type dataset.",
        )
    refuse_gaps(spec, repository, [name for name in repository.files if name.endswith(_DATA)])
    cache = Path(datasets.config.HF_DATASETS_CACHE) / f"mmpref-{repository.commit[:16]}"
    return datasets.load_dataset(str(snapshot), config, split=split, cache_dir=str(cache))


def refuse_gaps(spec: str, repository: Repository, names: Sequence[str]) -> None:
    """Without the Hub, refuse files of which some are not in the cache: fewer rows would be read, and nobody told.

    Raises:
        HubError: that is so.
    """
    from huggingface_hub import constants

    if repository.online:
        return
    snapshot = _snapshot(spec, repository.commit, constants.HF_HUB_CACHE)
    stems = {stem_of_shard(name) for name in names}
    unknown = [name for name in missing_shards(repository.files) if stem_of_shard(name) in stems]
    missing = [*(name for name in names if not (snapshot / name).is_file()), *unknown]
    if missing:
        raise HubError(
            f"The Hub cannot be asked, and {len(missing)} files of {spec} at {repository.commit} are not cached "
            f"here, such as {missing[0]}.",
            "Run it once with a network, or fetch it: hf download --repo-type dataset.",
        )


def _snapshot(spec: str, commit: str, cache: str) -> Path:
    from huggingface_hub.file_download import repo_folder_name

    return Path(cache) / repo_folder_name(repo_id=spec, repo_type="dataset") / "snapshots" / commit
