"""The seam of annotators that are no models: one module an entry, in a package of the group ``mmpref.judges``."""

from __future__ import annotations

from typing import Any

from mmpref.errors import UsageError
from mmpref.registry import Registry

JUDGES: Registry[Any] = Registry("annotator", "mmpref.judges", "JUDGE")
"""Objects with one or more of ``ask`` (`mmpref.judges.chat.Chat`, and its ``Reachable`` where it may not be there),
``compare`` (`mmpref.judges.annotator.Annotator`), ``rewrite`` (`mmpref.judges.rewriter.Rewriter`),
``correct`` (`mmpref.judges.corrector.Corrector`), ``check`` (`mmpref.judges.claims.Checker`), ``detect``
(`mmpref.judges.detectors.Detector`)
and ``reward`` (`mmpref.align.rloo_trainer`, the reward of ``rloo``)."""


def annotator_plugin(name: str, role: str) -> Any | None:
    """The plugin of that name, or of ``NAME:SETTING`` where it has one; None where the name is none's.

    A plugin that takes a setting has ``with_setting(text)``, which gives what stands in its place.

    Raises:
        UsageError: it does not do what it is wanted for, or takes no such setting.
    """
    plain, colon, setting = name.partition(":")
    if plain not in JUDGES.names():
        return None
    annotator = JUDGES.get(plain)
    if colon:
        if not hasattr(annotator, "with_setting"):
            raise UsageError(f"The annotator {plain!r} takes no setting, such as {setting!r}.")
        annotator = annotator.with_setting(setting)
    if not hasattr(annotator, role):
        raise UsageError(f"The annotator {name!r} does not {role} answers.")
    return annotator
