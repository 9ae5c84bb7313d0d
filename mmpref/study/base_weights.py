"""Bases that are trained anew are held to those that a ledger has measurements of."""

from __future__ import annotations

import hashlib
from pathlib import Path

from mmpref.study.measurement import Ledger
from mmpref.study.steps import Step


class BaseWeights:
    """What a ledger knows of the weights of its bases: two machines need not make the same of one seed, and rows on
    one cannot be set beside rows on the other."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self._faults: dict[str, str] = {}

    def fault(self, base: Step) -> str:
        """Why nothing may be measured on a base that was trained; empty where it may, and the ledger then knows it."""
        name = base.folder.name
        if name not in self._faults:
            self._faults[name] = self._compare(base.folder)
        return self._faults[name]

    def _compare(self, folder: Path) -> str:
        weights = weights_hash(folder)
        known = self.ledger.bases().get(folder.name)
        if known is None:
            self.ledger.write_base(folder.name, weights)
        if known in (None, weights):
            return ""
        return (
            f"{folder} has other weights than the base that {self.ledger.folder} has measurements of: it was trained "
            "by another kind of machine or other libraries. Put the former folder in its place, or measure all of it "
            "anew with another --output"
        )


def weights_hash(folder: Path) -> str:
    """SHA-256 (hex) of a model's weights."""
    found = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        found.update(path.read_bytes())
    return found.hexdigest()
