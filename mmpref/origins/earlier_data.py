"""What an adapter was trained on before a training goes on from it: the licences of these data hold for what comes of
it too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmpref.errors import MmprefError
from mmpref.origins.revisions import adapter_facts, licence_of, run_of_adapter

EARLIER = "earlier_datasets"
"""In a manifest: facts of the tables that the adapter, from which training went on, was trained on, and the adapters
before it. Where one does not tell, its own facts stand there, with its card's licence and ``adapter: true``."""


def earlier_data(manifest: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What the manifest of a training says of earlier data; of a run of before, which says nothing, what its first
    adapter tells, if that is still there."""
    began = manifest.get("began")
    if EARLIER in manifest or not began:
        return list(manifest.get(EARLIER) or ())
    return data_of_adapter(began) if _is_there(began) else [_untold(began)]


def data_of_adapter(facts: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The facts of all tables that an adapter was trained on, the earliest first, each once.

    Args:
        facts: `mmpref.origins.revisions.adapter_facts` of it.
    """
    run = run_of_adapter(facts["id"], facts["revision"])
    tells = "datasets" in run and all(_are_tables(run.get(key, [])) for key in ("datasets", EARLIER))
    if run.get("command") != "train" or not tells or not _is_adapter(run.get("began")):
        return [_untold(facts)]
    data = [*earlier_data(run), *run["datasets"]]
    return list({(one["id"], one.get("split"), one.get("fingerprint")): one for one in data}.values())


def _untold(adapter: Mapping[str, Any]) -> dict[str, Any]:
    name, revision = adapter["id"], adapter["revision"]
    licence = licence_of(name, revision)
    return {"id": name, "revision": revision, "fingerprint": adapter["weights"], "licence": licence, "adapter": True}


def _is_there(adapter: Mapping[str, Any]) -> bool:
    """Whether an adapter's place holds it still."""
    try:
        return bool(adapter_facts(adapter["id"], adapter["revision"])["weights"] == adapter["weights"])
    except (OSError, ValueError, MmprefError):  # a name that none of the Hub could have is a ValueError
        return False


def _are_tables(value: Any) -> bool:
    """Whether it is what a manifest says of tables; what comes with an adapter was written by anybody."""
    return isinstance(value, list) and all(
        isinstance(one, dict) and isinstance(one.get("id"), str) and isinstance(one.get("licence"), str | None)
        for one in value
    )


def _is_adapter(value: Any) -> bool:
    """Whether it is what a manifest says of the first adapter, if anything."""
    return value is None or (isinstance(value, dict) and {"id", "revision", "weights"} <= value.keys())
