"""What is to be said where answers could not be read as their benchmark reads them: it counts them all the same, as
wrong or as what its rule makes of them, and so measures whether answers have its form."""

from __future__ import annotations

from collections.abc import Sequence

from mmpref.bench.plan import Plan
from mmpref.log import logger
from mmpref.run.results import Key, Value

FEW = 0.1
"""Share of answers from which on it is worth a remark."""
_ASKS = ("suffix", "instruction", "prompt")
"""Settings that say which form answers are to have."""


def unread(values: Sequence[Value], plans: Sequence[Plan]) -> list[str]:
    """One sentence for every metric that claims are made on, of all its models that have such answers; where these are
    most of a model's, a warning says it too."""
    metrics: dict[Key, list[Value]] = {}
    for value in values:
        if value.headline and value.answers and value.parse_failures > FEW * value.answers:
            metrics.setdefault(value.key, []).append(value)
    asks = {plan.label: _asks(plan) for plan in plans}
    remarks = []
    for key, found in metrics.items():
        counts = ", ".join(f"{value.parse_failures} of {value.answers} of {value.model}" for value in found)
        form = any(value.is_form for value in found)
        so = " It measures the form of answers, not what they say." if form else ""
        remarks.append(f"{key.name}: answers that could not be read: {counts}.{so}{asks[key.benchmark]}")
        if form:
            logger.warning("Warning: %s", remarks[-1])
    return remarks


def _asks(plan: Plan) -> str:
    """Which setting asks for the form that is read."""
    name = next((name for name in _ASKS if hasattr(plan.settings, name)), "")
    return f" --set benchmark.{plan.name}.{name}=TEXT asks for the form that is read." if name else ""
