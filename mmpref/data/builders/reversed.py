"""Control: the source's own pairs with chosen and rejected swapped; training on them should do harm.

What a row says of its answers (who wrote them, by how much the chosen one was rated better) is swapped with them. A
second rejected answer is left out: nothing says that it is worse than the answer that is chosen now.
"""

from __future__ import annotations

from dataclasses import replace

from mmpref.data.builder import Builder, Context, MakePairs
from mmpref.data.builders._published import NoSettings, SourcePairs
from mmpref.tables.weights import SPANS
from mmpref.types import Example

METHOD = "reversed"
_SWAPPED = {"chosen_model": "rejected_model", "rejected_model": "chosen_model"}


def swapped(example: Example) -> Example:
    """The example of a preference set with its answers swapped; as it is where it has no rejected one."""
    if example.rejected is None:
        return example
    facts = {_SWAPPED.get(name, name): value for name, value in example.facts.items()} | {"method": METHOD}
    facts.pop("severity", None)  # of the mistakes in what is chosen here
    facts |= {name: 0 - float(facts[name]) for name in ("margin", "hardness") if name in facts}
    chosen, rejected = SPANS["chosen"], SPANS["rejected"]
    other = {chosen: rejected, rejected: chosen}
    return replace(
        example,
        answer=example.rejected,
        rejected=example.answer,
        rejected_policy=None,
        facts=facts,
        spans={other[name]: spans for name, spans in example.spans.items()},
    )


def _worker(context: Context, _settings: NoSettings) -> MakePairs:
    keep = SourcePairs(METHOD, context.seed)
    return lambda block: keep([swapped(example) for example in block])


BUILDER = Builder(config=lambda: NoSettings, worker=_worker, uses_model=False, needs_pairs=True, takes_context=True)
