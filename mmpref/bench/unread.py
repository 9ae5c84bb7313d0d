"""What is to be said where answers could not be read as their benchmark reads them: it counts them all the same, as
wrong or as what its rule makes of them, and so measures whether answers have its form.

Where most of the adapter's could be read of its base, the adapter has garbled them; else the prompt does not ask for
the form."""

from __future__ import annotations

from collections.abc import Sequence

from mmpref.bench.plan import Plan
from mmpref.bench.yes_no_words import YesNoSettings, setting_of
from mmpref.log import warn
from mmpref.run.results import ADAPTER, BASE, Key, Value
from mmpref.run.results_text import FEW_UNREAD, is_garbled

_ASKS = ("suffix", "instruction", "prompt")
"""Settings that say which form answers are to have."""


def unread(values: Sequence[Value], plans: Sequence[Plan]) -> list[str]:
    """One sentence for every metric that claims are made on, of all its models, where one has such answers; where these
    are most of a model's, or the adapter's doing, a warning says it too."""
    metrics: dict[Key, dict[str, Value]] = {}
    for value in values:
        if value.headline and value.answers:
            metrics.setdefault(value.key, {})[value.model] = value
    by_label = {plan.label: plan for plan in plans}
    remarks = []
    for key, found in metrics.items():
        if all(value.unread_share <= FEW_UNREAD for value in found.values()):
            continue
        counts = ", ".join(map(_count, found.values()))
        form = any(value.is_form for value in found.values())
        so = " It measures the form of answers, not what they say." if form else ""
        plan = by_label[key.benchmark]
        shares = {model: value.unread_share for model, value in found.items()}
        garbled = ADAPTER in shares and BASE in shares and is_garbled(shares[BASE], shares[ADAPTER])
        remarks.append(
            f"{key.name}: answers that could not be read: {counts}.{so}{_GARBLED if garbled else ''}"
            f"{f' See samples/{ADAPTER}-{plan.label}.parquet of this run.' if garbled else _asks(plan)}"
        )
        if form or garbled:
            warn(remarks[-1])
    return remarks


_GARBLED = (
    " Most of the base's can be read: it is the adapter that garbles them, not the prompt. One that moves the model"
    " less (a lower learning rate, fewer epochs) may keep their form."
)


def _count(value: Value) -> str:
    return f"{value.parse_failures} of {value.answers} of {value.model} ({value.unread_share:.1%})"


def _asks(plan: Plan) -> str:
    """Which setting asks for the form that is read, or reads what is answered."""
    name = next((name for name in _ASKS if hasattr(plan.settings, name)), "")
    form = f" --set benchmark.{plan.name}.{name}=TEXT asks for the form that is read." if name else ""
    settings = plan.settings
    if isinstance(settings, YesNoSettings) and settings.data and not settings.yes_words:
        return f"{form} Answers in another language than English are read by their words: {setting_of(plan.name)}."
    return form
