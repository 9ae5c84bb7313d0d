"""Local checks of a card's metadata: the Hub's own check needs the network, and passes much that is wrong.

Sources of the tables: task names https://huggingface.co/tasks, library names
https://huggingface.co/docs/hub/models-libraries, size categories and the fields
https://huggingface.co/docs/hub/datasets-cards and .../model-cards.
"""

from __future__ import annotations

import re
from typing import Any, Literal

import yaml

from mmpref.errors import HubError
from mmpref.hub.cards.merge import load_metadata, split_card
from mmpref.hub_ids import is_hub_id
from mmpref.licence import LICENCES, UNREADABLE

SIZES = (
    "n<1K",
    "1K<n<10K",
    "10K<n<100K",
    "100K<n<1M",
    "1M<n<10M",
    "10M<n<100M",
    "100M<n<1B",
    "1B<n<10B",
    "10B<n<100B",
    "100B<n<1T",
    "n>1T",
)
TASKS = frozenset(("image-text-to-text", "visual-question-answering", "image-to-text", "text-generation"))
LIBRARIES = frozenset(("peft", "transformers"))
RELATIONS = frozenset(("adapter", "finetune", "merge", "quantized"))
"""What a model can be to its base."""
REQUIRED = {
    "dataset": ("license", "pretty_name", "task_categories", "size_categories", "configs", "dataset_info", "tags"),
    "model": ("license", "library_name", "pipeline_tag", "tags"),
}

KNOWN_OF_A_RUN = {
    "dataset": ("language",),
    "model": ("base_model", "base_model_relation", "datasets", "language", "co2_eq_emissions"),
}
"""What a card has only where its run knows it."""


def size_category(rows: int) -> str:
    """The Hub's name for a number of rows."""
    for index, name in enumerate(SIZES):
        if rows < 10 ** (3 + index):
            return name
    return SIZES[-1]


def licence_fields(licence: str | None, link: str | None = None) -> dict[str, str]:
    """Metadata of a licence as a source states it: its id, ``other`` with its name (or with all of several names), or
    ``unknown``.

    Args:
        licence: an id, a free name, or None where nobody said.
        link: where the licence of the source can be read, for one that has no id.
    """
    name = (licence or "").strip()
    if name.lower() in LICENCES - {"other"}:
        return {"license": name.lower()}
    slug = re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-.")
    if slug in ("", "license", "licence", "none", "null", "n-a", UNREADABLE):
        return {"license": "unknown"}
    if slug == "other":
        slug = "license-of-the-source"
    return {"license": "other", "license_name": slug, **({"license_link": link} if link else {})}


def check_metadata(card: str, repo_type: Literal["dataset", "model"]) -> list[str]:
    """What is wrong with the metadata of a card, one sentence each; an empty list where it is sound.

    Checked: required fields, licence id (and a name beside ``other``), task or pipeline, library, size category,
    that lists are lists, ids that are Hub ids, configs that name files, and the form of a model-index.
    """
    try:
        data = load_metadata(split_card(card)[0])
    except yaml.YAMLError as error:
        return [f"the metadata is not YAML: {' '.join(str(error).split())}"]
    if not isinstance(data, dict):
        return ["the card has no metadata"]
    wrong = [f"{key} is missing" for key in REQUIRED[repo_type] if data.get(key) in (None, "", [])]
    wrong += _licence(data)
    for key in ("tags", "datasets", "task_categories", "size_categories", "configs", "language", "model-index"):
        if key in data and not isinstance(data[key], list):
            wrong.append(f"{key} is not a list")
    return wrong + (_dataset(data) if repo_type == "dataset" else _model(data))


def refuse_broken(card: str, repo_type: Literal["dataset", "model"]) -> None:
    """Raise HubError with every problem of the card."""
    if wrong := check_metadata(card, repo_type):
        raise HubError(f"The metadata of README.md is broken: {'; '.join(wrong)}.", "Repair README.md.")


def _items(data: dict[str, Any], key: str) -> list[Any]:
    value = data.get(key)
    return value if isinstance(value, list) else []


def _licence(data: dict[str, Any]) -> list[str]:
    value = data.get("license")
    ids = value if isinstance(value, list) else [] if value is None else [value]
    wrong = [f"license {name!r} is not a licence id of the Hub" for name in ids if name not in LICENCES]
    if "other" in ids and not data.get("license_name"):
        wrong.append("license is 'other' without a license_name")
    return wrong


def _dataset(data: dict[str, Any]) -> list[str]:
    wrong = [f"task category {name!r} is not known" for name in _items(data, "task_categories") if name not in TASKS]
    wrong += [f"size category {name!r} is not known" for name in _items(data, "size_categories") if name not in SIZES]
    for config in _items(data, "configs"):
        if not (isinstance(config, dict) and config.get("config_name") and config.get("data_files")):
            wrong.append("a config lacks config_name or data_files")
    return wrong


def _model(data: dict[str, Any]) -> list[str]:
    wrong = []
    if data.get("pipeline_tag") not in (None, *TASKS):
        wrong.append(f"pipeline_tag {data['pipeline_tag']!r} is not known")
    if data.get("library_name") not in (None, *LIBRARIES):
        wrong.append(f"library_name {data['library_name']!r} is not known")
    if data.get("base_model_relation") not in (None, *RELATIONS):
        wrong.append(f"base_model_relation {data['base_model_relation']!r} is not known")
    if "base_model_relation" in data and not data.get("base_model"):
        wrong.append("base_model_relation is there without a base_model")
    base = data.get("base_model")
    ids = [*(base if isinstance(base, list) else [] if base is None else [base]), *_items(data, "datasets")]
    ids += [data["new_version"]] if data.get("new_version") is not None else []
    wrong += [f"{name!r} is not a Hub id" for name in ids if not is_hub_id(name)]
    for entry in _items(data, "model-index"):
        results = entry.get("results") if isinstance(entry, dict) and entry.get("name") else None
        if not isinstance(results, list) or not all(
            isinstance(result, dict) and {"task", "dataset", "metrics"} <= result.keys() for result in results
        ):
            wrong.append("a model-index entry lacks its name, or a result its task, dataset or metrics")
    return wrong
