"""Results and cards that are there already: merged in, with what a card says of them made anew."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from mmpref.errors import HubError
from mmpref.hub.cards.merge import (
    find_block,
    front_matter_blocks,
    is_of_one_run,
    join_card,
    keys_of_another_run,
    load_metadata,
    merge_own_text,
    metadata_there,
    owners_tags,
    put_block,
    split_card,
)
from mmpref.hub.cards.metadata import KNOWN_OF_A_RUN
from mmpref.hub.cards.model_index import merged_index, model_index
from mmpref.hub.cards.results_table import Line, lines_of, measured_on, merged_lines, read_lines, results_block
from mmpref.hub.cards.verdict import TAGS as DECIDED
from mmpref.hub.cards.verdict import with_tags, with_verdict
from mmpref.hub_ids import is_hub_id
from mmpref.log import warn
from mmpref.run.results import Results


def add_results(card_text: str, results: Results, name: str | None = None) -> str:
    """A model card with the results of an evaluation run merged in; everything else stays as it is written there.

    Args:
        card_text: the whole card. A card without our block gets it at its end.
        name: of the model, for a model-index that is not there yet.

    Results of the same benchmark, split and metric are replaced, others (ours or foreign) are kept; first words, limits
    and tags follow. Adding the same results again changes nothing.

    Raises:
        HubError: the card's metadata is not YAML, or its model-index has not the Hub's form.
    """
    front, body = split_card(card_text)
    try:
        blocks = front_matter_blocks(front)
        old = load_metadata(front) or {}
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise HubError(f"The card's metadata is not valid YAML ({reason}).", "Repair README.md there.") from error
    there = read_lines(body)
    lines = merged_lines(there, lines_of(results))
    _tell_replaced(there, lines)
    _set_tags(blocks, old.get("tags"), lines)
    index = merged_index(old.get("model-index"), model_index(name or _name(results), results))
    blocks["model-index"] = yaml.safe_dump({"model-index": index}, sort_keys=False, allow_unicode=True)
    return join_card(blocks.values(), put_block(with_verdict(body, lines), results_block(lines)))


def _tell_replaced(there: Sequence[Line], lines: Sequence[Line]) -> None:
    """Say which results of other questions, or of other settings, gave way: of data of that name in another folder,
    say."""
    measured = {line.benchmark: measured_on(line) for line in lines}
    gone = [line.benchmark for line in there if line.asked and measured_on(line) != measured.get(line.benchmark)]
    for title in dict.fromkeys(gone):
        warn(
            f"the card's results of {title} were of other questions, or of other settings, than those of this run, "
            "which stand in their place. Data of another name keep a line of their own."
        )


def _set_tags(blocks: dict[str, str], old: Any, lines: list[Line]) -> None:
    """Tags as the results decide them; as they are written where nothing changes."""
    tags = [str(tag) for tag in old] if isinstance(old, list) else []
    if (new := with_tags(tags, lines)) != tags:
        blocks["tags"] = yaml.safe_dump({"tags": new}, sort_keys=False, allow_unicode=True)


def _name(results: Results) -> str:
    adapters = (ref.adapter for ref in results.models.values())
    return next((adapter.split("/")[-1] for adapter in adapters if adapter and is_hub_id(adapter)), "adapter")


def merge_model_card(remote: str | None, ours: str) -> str:
    """Our adapter card on top of the one on the Hub.

    The owner's text outside of our markers and foreign metadata keys stay, and further tags where the card is of the
    same run. Results stay there too; after another training they would be another adapter's, and are replaced by ours,
    and so is what its metadata say of base, data and language.

    Raises:
        HubError: the remote metadata is not valid YAML.
    """
    if remote is None:
        return ours
    merged = merge_own_text(remote, ours, keys_of_another_run(remote, ours, KNOWN_OF_A_RUN["model"]))
    front, body = split_card(merged)
    blocks = front_matter_blocks(front)
    own = metadata_there(ours)
    tags = [*own.get("tags", ()), *(tag for tag in owners_tags(remote, ours) if tag not in DECIDED)]
    if tags != own.get("tags", []):
        blocks["tags"] = yaml.safe_dump({"tags": tags}, sort_keys=False, allow_unicode=True)
    if "model-index" in own:
        return join_card(blocks.values(), body)
    results = find_block(split_card(remote)[1])
    if results and is_of_one_run(remote, ours):
        lines = read_lines(results)
        _set_tags(blocks, tags, lines)
        return join_card(blocks.values(), put_block(with_verdict(body, lines), results))
    return join_card((block for key, block in blocks.items() if key != "model-index"), body)
