"""Which step of a training is published, what chose it, and what the numbers of a card are means over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmpref.hub.cards.markdown import code, table, text
from mmpref.log import counted
from mmpref.run.asked import Asked
from mmpref.run.final_over import final_over_text
from mmpref.run.kept_step import none_was_better
from mmpref.run.manifest import product_of
from mmpref.run.results_text import rounded


def final_title(manifest: Mapping[str, Any]) -> str:
    """What stands above the numbers of a training's log."""
    best, over = manifest.get("best"), manifest.get("final_over")
    when = f"Up to the kept step {best['step']}" if best else "At the end of training"
    return f"{when} (a mean over {final_over_text(over) if over else 'the last tenth of the log'}):"


def kept_text(manifest: Mapping[str, Any]) -> str:
    """What benchmarks showed while training, and which step is kept; "" where none was watched."""
    rows, best, steps = manifest.get("evaluations") or [], manifest.get("best"), manifest.get("steps")
    if not rows:
        return ""
    watched = {name: Asked.from_dict(asked) for name, asked in (manifest.get("watched") or {}).items()}
    before = "first adapter" if manifest.get("began") else "base"
    columns = {0: f"{before} (step 0)", rows[-1]["step"]: f"step {rows[-1]['step']}"}
    if best:
        columns[best["step"]] = f"**kept: step {best['step']}**"
    shown = [row for row in rows if row["step"] in columns]
    metrics = dict.fromkeys(name for row in reversed(shown) for name in row if "/" in name)
    lines = [(text(name), *(_value(row.get(name)) for row in shown)) for name in metrics]
    seen = table(("while training", *(columns[row["step"]] for row in shown)), lines)
    worse = f" **{said.capitalize()}.**" if (said := none_was_better(manifest)) else ""
    choice = _choice(best, steps, watched, before, product_of(manifest), worse) if best else _watched(watched)
    return "\n\n".join([choice, seen])


def _choice(
    best: Mapping[str, Any], steps: Any, watched: Mapping[str, Asked], before: str, product: str, worse: str
) -> str:
    data = watched.get(best["metric"].split("/")[0])
    where = f" on {_data(data)}" if data else ", on data that were not recorded"
    base = best.get("base")
    against = "" if base is None else f" ({_value(base)} with the {before})"
    return (
        f"**Kept is the {product} of step {best['step']} of {steps}**, where {code(best['metric'])} was best: "
        f"{_value(best['value'])}{against}.{worse} It was chosen{where}: results on these data are too good, and say "
        "little of other data."
    )


def _watched(watched: Mapping[str, Asked]) -> str:
    named = "; ".join(_data(asked) for asked in watched.values())
    return f"Benchmarks while training{f', on {named}' if named else ''}; the last step is kept."


def _data(asked: Asked) -> str:
    split = f"split {code(asked.split)}, " if asked.split else ""
    rows = f"{counted(asked.questions, 'question')}, " if asked.questions else ""
    return f"{code(asked.own_name)} ({split}{rows}{code(asked.revision)})"


def _value(value: Any) -> str:
    return rounded(value) if isinstance(value, int | float) else "–"
