"""What a training emitted, as CodeCarbon estimates it (``report_to=codecarbon``): for the card's ``co2_eq_emissions``.

The estimate is energy times how clean the electricity is where the machine stands. Where CodeCarbon cannot find out (it
asks the network) it takes Quebec, whose electricity is among the cleanest: such an estimate is none, and not passed on.
Nor is one that lacks a part of the training, which an interrupted process leaves unwritten.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmpref.log import logger
from mmpref.text_files import read_text

FILE = "emissions.csv"
"""CodeCarbon's, in the trainer's output folder: a row for each process that ended."""
_FALLBACK = (46.8, -71.2)
"""Latitude and longitude that stand for a place that was not found."""


def emissions_of(file: Path, starts: int) -> dict[str, Any]:
    """Facts for the manifest: ``grams`` of CO2 equivalents (None where there is no honest number), ``kwh``,
    ``country``, ``hardware`` and CodeCarbon's ``version``; nothing where it wrote nothing.

    Args:
        starts: how often the training began or went on.
    """
    if not file.is_file():
        return {}
    rows = list(csv.DictReader(read_text(file).splitlines()))
    if not rows:
        return {}
    missing = "what CodeCarbon measured before an interruption is lost" if len(rows) != starts else ""
    if any((float(row["latitude"] or 0), float(row["longitude"] or 0)) == _FALLBACK for row in rows):
        missing = "CodeCarbon could not find out where this machine is"
    if missing:
        logger.warning("Warning: the card says nothing of emissions, because %s.", missing)
    return {
        "grams": None if missing else round(1000 * sum(float(row["emissions"]) for row in rows), 3),
        "kwh": round(sum(float(row["energy_consumed"]) for row in rows), 6),
        "country": None if missing else rows[-1]["country_name"],
        "hardware": _hardware(rows[-1]),
        "version": rows[-1]["codecarbon_version"],
    }


def _hardware(row: Mapping[str, str]) -> str:
    """Its accelerators, or its processor where it has none."""
    return row["gpu_model"] or row["cpu_model"]
