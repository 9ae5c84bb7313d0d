"""Splits of Hub datasets out of the caches of ``datasets`` and huggingface_hub, where the Hub cannot be asked.

The ``datasets`` library itself would take the newest commit that it has; here it is the one that was resolved, or none.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from mmpref.errors import HubError, InputError
from mmpref.licence import CARD
from mmpref.local_paths import FORMATS
from mmpref.tables._repository import Repository
from mmpref.tables._shards import missing_shards, stem_of_shard
from mmpref.text_files import read_json

_DATA = (*FORMATS, ".zip", ".txt", ".png", ".jpg", ".jpeg", ".webp")
_DEFAULT = "default"
"""What the library calls the configuration of a repository whose card names none."""


def cached_split(spec: str, repository: Repository, split: str, config: str | None) -> Any:
    """One split as a ``datasets.Dataset``: as the library prepared it before, else made of the cached files.

    Raises:
        InputError: no configuration is named, and the repository has several, none of them its default.
        HubError: neither is there, or some of the files are missing.
    """
    import datasets
    from datasets.naming import camelcase_to_snakecase
    from datasets.packaged_modules.cache.cache import Cache
    from huggingface_hub import constants

    prepared, snapshot = _prepared(spec, repository.commit), _snapshot(spec, repository.commit, constants.HF_HUB_CACHE)
    config_name = config or _default(spec, repository, snapshot, prepared)
    if config_name in prepared:
        builder = Cache(
            repo_id=spec,
            dataset_name=camelcase_to_snakecase(spec.rpartition("/")[2]),
            config_name=config_name,
            version=prepared[config_name],
            hash=repository.commit,
        )
        return builder.as_dataset(split=split)
    if not any((snapshot / name).is_file() for name in repository.files if name.endswith(_DATA)):
        raise HubError(
            f"The Hub cannot be asked, and of {spec} at {repository.commit} no data are cached here.",
            f"{_naming(prepared)}Run it once with a network, or fetch it: hf download --repo-type dataset.",
        )
    # Without its card all files would be one configuration.
    refuse_gaps(
        spec, repository, [name for name in repository.files if name == CARD or name.endswith(_DATA)], _naming(prepared)
    )
    cache = Path(datasets.config.HF_DATASETS_CACHE) / f"mmpref-{repository.commit[:16]}"
    return datasets.load_dataset(str(snapshot), config, split=split, cache_dir=str(cache))


def _prepared(spec: str, commit: str) -> dict[str, str]:
    """The configurations that the library prepared of a commit, and their versions. A part of one, of files or columns
    that another program named, is none: it has a longer name."""
    import datasets
    from datasets.naming import camelcase_to_snakecase

    owner, _, name = spec.rpartition("/")
    root = Path(datasets.config.HF_DATASETS_CACHE) / "___".join(filter(None, (owner, camelcase_to_snakecase(name))))
    places = sorted(file.parent for file in root.glob(f"*/*/{commit}/dataset_info.json"))
    found = {place.parts[-3]: place for place in places}
    return {
        name: place.parts[-2]
        for name, place in found.items()
        if read_json(place / "dataset_info.json").get("config_name") == name
    }


def _default(spec: str, repository: Repository, snapshot: Path, prepared: Collection[str]) -> str:
    """The configuration that is read where none is named, as the library has it: the only one of the card, or the one
    that the card calls so; of a repository whose card names none, all files are.

    Raises:
        InputError: the card has several, and calls none so.
        HubError: the card is not cached.
    """
    from datasets.utils.metadata import MetadataConfigs
    from huggingface_hub import DatasetCard

    if _DEFAULT in prepared:
        return _DEFAULT
    if not (snapshot / CARD).is_file():
        if CARD not in repository.files:
            return _DEFAULT
        raise HubError(
            f"The Hub cannot be asked, and of {spec} at {repository.commit} its card, which names the configurations, "
            "is not cached here.",
            f"{_naming(prepared)}Run it once with a network.",
        )
    configs = MetadataConfigs.from_dataset_card_data(DatasetCard.load(snapshot / CARD).data)
    if not configs:
        return _DEFAULT
    if default := configs.get_default_config_name():
        return str(default)
    names = ", ".join(configs)
    raise InputError(
        f"The dataset {spec} has several configurations, and none is its default: {names}.",
        f"Name one: --source-config={next(iter(configs))} (of a benchmark: --set benchmark.NAME.config=CONFIG).",
    )


def _naming(prepared: Collection[str]) -> str:
    """What to do where another configuration is there."""
    name = next(iter(prepared), "")
    return f"Its configuration {name} is cached: --source-config={name}. " if name else ""


def refuse_gaps(spec: str, repository: Repository, names: Sequence[str], instead: str = "") -> None:
    """Without the Hub, refuse files of which some are not in the cache: fewer rows would be read, and nobody told.

    Args:
        instead: what could be read in their place, as a hint.

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
            f"{instead}Run it once with a network, or fetch it: hf download --repo-type dataset.",
        )


def _snapshot(spec: str, commit: str, cache: str) -> Path:
    from huggingface_hub.file_download import repo_folder_name

    return Path(cache) / repo_folder_name(repo_id=spec, repo_type="dataset") / "snapshots" / commit
