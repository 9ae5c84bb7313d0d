"""The card of a chain: that of the adapter which is kept, with what every round did."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmpref.hub.cards.markdown import code, table, text
from mmpref.hub.cards.model import model_card
from mmpref.hub.cards.results_table import lines_of, results_text
from mmpref.hub.private import public
from mmpref.hub.published import dataset_address
from mmpref.hub_ids import name_for_others
from mmpref.run import rounds as chain
from mmpref.run.asked import Asked
from mmpref.run.files import write_atomic
from mmpref.run.manifest import read_manifest
from mmpref.run.results import Results, Value


def write_chain_card(path: Path, manifest: Mapping[str, Any]) -> None:
    """Write ``README.md`` of a chain; none where no round is kept, for there is no adapter that it could be of.

    Args:
        path: the chain's folder.
        manifest: what ``run.json`` holds or will hold.
    """
    if not manifest["kept"]:
        return
    trained = read_manifest(kept_folder(path, manifest))
    results = results_of(path, manifest["kept"])
    write_atomic(path / "README.md", model_card(trained, results, rounds=rounds_text(path, manifest)))


def kept_folder(path: Path, manifest: Mapping[str, Any]) -> Path:
    """The run that trained the adapter which a chain keeps."""
    return path / f"round-{manifest['kept']}" / "train"


def results_of(path: Path, kept: int) -> Results:
    """What the adapter that a chain keeps has on data that chose nothing, as it may be published."""
    test = chain.test_folder(path, kept)
    return Results.from_dict(public(Results.read(test).as_dict(), read_manifest(test)))


def results_before_merging(path: Path, kept: int) -> str:
    """What the kept adapter has, in Markdown, for the card of the model that it was merged into."""
    lines = lines_of(results_of(path, kept))
    return (
        "The results below are the adapter's on its base, before it was merged. The merged model was not evaluated, "
        f"and may answer a little differently.\n\n{results_text(lines)}"
    )


def rounds_text(path: Path, manifest: Mapping[str, Any]) -> str:
    """What every round did, in Markdown: a table, the rule, on which data the round was chosen, and its datasets.

    Args:
        path: the chain's folder, which knows where its datasets were published.
    """
    base = Value.from_dict(manifest["base"])
    rounds = [chain.Round.from_dict(row) for row in manifest["rounds"]]
    columns, rows = chain.table(base, rounds, chain.begun_value(manifest))
    before = len(rows) - len(rounds)
    chosen = Asked.from_dict(manifest["chosen_on"])
    arrow = {True: "↑", False: "↓", None: ""}[base.higher_is_better]
    reported = chain.reported_on(manifest, code)
    own = (
        "The pairs of every round were made with the policy as it was then."
        if any((read_manifest(path / f"round-{one.number}" / "build-dataset")["model"]) for one in rounds)
        else "The pairs of no round were written by the policy."
    )
    return "\n\n".join(
        [
            f"{own} From the second round on, training went on from the adapter of the round before, and the reference "
            f"of the loss was the policy of that round. This is the adapter of round {manifest['kept']}.",
            table(
                ("round", "pairs", "steps", f"{code(manifest['metric'])} {arrow}".rstrip(), *columns[4:], "dataset"),
                [
                    [*row[:-1], text(row[-1]), _dataset(path, number) if number > 0 else ""]
                    for number, row in enumerate(rows, 1 - before)
                ],
            ),
            f"{_begun(manifest)}Differences have their 95 % interval, paired by image. KL is from the base, in nats a "
            "token of the adapter's own greedy answers.",
            f"{text(manifest['rule'])} The chain ended: {text(manifest['stopped'])}.",
            f"The round was chosen on {code(chosen.which)}." + (f" Results are of {reported}." if reported else ""),
        ]
    )


def _begun(manifest: Mapping[str, Any]) -> str:
    """What round 0 is, where there is one."""
    if "begun" not in manifest:
        return ""
    return f"Round 0 is {code(name_for_others(manifest['begun']['adapter']['id']))}, which the chain began with. "


def _dataset(path: Path, number: int) -> str:
    """Where the pairs of a round were published, as a link."""
    address = dataset_address(path / f"round-{number}" / "build-dataset")
    return f"[pairs]({address})" if address else "not published"
