"""Checks of a README's metadata, as the Hub's validate-yaml makes them: real YAML, and the fields we know."""

from __future__ import annotations

import re
from collections.abc import Iterator

import yaml
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

FRONT = re.compile(r"^\s*---[ \t]*\r?\n(.*?)(?:\r?\n)?---[ \t]*(?:\r?\n|$)", re.DOTALL)
LICENSES = frozenset(
    (
        "apache-2.0",
        "mit",
        "openrail",
        "creativeml-openrail-m",
        "bigscience-openrail-m",
        "afl-3.0",
        "artistic-2.0",
        "bsl-1.0",
        "bsd",
        "bsd-2-clause",
        "bsd-3-clause",
        "c-uda",
        "cc",
        "cc0-1.0",
        "cc-by-2.0",
        "cc-by-2.5",
        "cc-by-3.0",
        "cc-by-4.0",
        "cc-by-sa-3.0",
        "cc-by-sa-4.0",
        "cc-by-nc-2.0",
        "cc-by-nc-3.0",
        "cc-by-nc-4.0",
        "cc-by-nd-4.0",
        "cc-by-nc-nd-4.0",
        "cc-by-nc-sa-4.0",
        "cdla-permissive-2.0",
        "gpl",
        "gpl-2.0",
        "gpl-3.0",
        "agpl-3.0",
        "lgpl-3.0",
        "mpl-2.0",
        "odbl",
        "odc-by",
        "pddl",
        "unlicense",
        "llama2",
        "llama3",
        "llama3.1",
        "gemma",
        "other",
        "unknown",
    )
)
LISTS = ("tags", "datasets", "task_categories", "configs")


class _StrictLoader(yaml.SafeLoader):
    """Refuses a key written twice, as the Hub does."""


def _mapping(loader: _StrictLoader, node: yaml.MappingNode) -> dict[object, object]:
    keys = [loader.construct_object(key, deep=True) for key, _ in node.value]
    for key in keys:
        if keys.count(key) > 1:
            raise yaml.YAMLError(f"duplicated mapping key {key!r}")
    values = [loader.construct_object(value, deep=True) for _, value in node.value]
    return dict(zip(keys, values, strict=True))


_StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def read_metadata(card: str) -> dict[str, object]:
    """The metadata of a card; raises yaml.YAMLError."""
    match = FRONT.match(card)
    data = yaml.load(match.group(1), _StrictLoader) if match else {}
    if not isinstance(data, dict | None):
        raise yaml.YAMLError("the metadata is not a mapping")
    return data or {}


def problems(card: str, kind: str) -> Iterator[str]:
    try:
        data = read_metadata(card)
    except yaml.YAMLError as exc:
        yield f"Invalid YAML in README.md: {exc}"
        return
    licences = data.get("license", [])
    for licence in licences if isinstance(licences, list) else [licences]:
        if licence not in LICENSES:
            yield f'"license" must be one of the known licence ids, got "{licence}"'
    for key in LISTS:
        value = data.get(key, [])
        if not isinstance(value, list) and not (key == "datasets" and isinstance(value, str)):
            yield f'"{key}" must be an array'
    configs = data.get("configs", [])
    if kind == "dataset" and isinstance(configs, list):
        for config in configs:
            if not (isinstance(config, dict) and "config_name" in config):
                yield '"configs[].config_name" is required'


async def validate_yaml(request: Request) -> Response:
    body = await request.json()
    errors = [{"message": text} for text in problems(body["content"], body.get("repoType", "model"))]
    empty = not errors and not read_metadata(body["content"])
    warnings = [{"message": "empty or missing yaml metadata in repo card"}] if empty else []
    return JSONResponse({"errors": errors, "warnings": warnings}, 400 if errors else 200)
