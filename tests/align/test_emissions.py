"""Emissions: CodeCarbon's number goes into the card where it is one, and nowhere else."""

from __future__ import annotations

import csv
import importlib.util
import logging
from pathlib import Path

import pytest
import yaml

from mmpref.align import report_to
from mmpref.align.emissions import emissions_of
from mmpref.hub.cards.metadata import check_metadata
from mmpref.hub.cards.model import model_card
from tests.hub.runs import adapter_manifest

from .test_trackers import tracked

ROW = {
    "emissions": "0.0123456",
    "energy_consumed": "0.05",
    "country_name": "Germany",
    "latitude": "52.5",
    "longitude": "13.4",
    "cpu_model": "A processor",
    "gpu_model": "8 x NVIDIA H100",
    "codecarbon_version": "3.3.2",
}
QUEBEC = {"country_name": "Canada", "latitude": "46.8", "longitude": "-71.2"}


def written(path: Path, *changes: dict[str, str]) -> Path:
    with open(path / "emissions.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, ROW)
        writer.writeheader()
        writer.writerows({**ROW, **change} for change in changes)
    return path / "emissions.csv"


def test_all_sessions_of_a_training_count(tmp_path: Path) -> None:
    found = emissions_of(written(tmp_path, {}, {"emissions": "0.001"}), 2)
    assert found["grams"] == 13.346
    assert found["kwh"] == 0.1
    card = model_card(adapter_manifest(trackers=[{"name": "codecarbon", "path": "", "url": None, "emissions": found}]))
    metadata = yaml.safe_load(card.split("---\n")[1])
    assert metadata["co2_eq_emissions"] == {
        "emissions": 13.346,
        "source": "CodeCarbon 3.3.2",
        "training_type": "fine-tuning",
        "geographical_location": "Germany",
        "hardware_used": "8 x NVIDIA H100",
    }
    assert check_metadata(card, "model") == []


@pytest.mark.parametrize(
    ("changes", "starts", "reason"), [({}, 2, "before an interruption"), (QUEBEC, 1, "where this machine is")]
)
def test_a_number_that_is_none_is_not_passed_on(
    tmp_path: Path, changes: dict[str, str], starts: int, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "mmpref"):
        found = emissions_of(written(tmp_path, changes), starts)
    assert (found["grams"], found["country"], found["kwh"]) == (None, None, 0.05)
    assert reason in caplog.text
    card = model_card(adapter_manifest(trackers=[{"name": "codecarbon", "path": "", "url": None, "emissions": found}]))
    assert "co2_eq_emissions" not in card


def test_no_file_is_nothing(tmp_path: Path) -> None:
    assert emissions_of(tmp_path / "emissions.csv", 1) == {}
    assert emissions_of(written(tmp_path), 1) == {}


def test_codecarbon_itself(preferences: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if importlib.util.find_spec("codecarbon") is None:
        pytest.skip("codecarbon is not installed")
    monkeypatch.chdir(tmp_path)
    manifest = tracked(report_to.CODECARBON, preferences, tmp_path / "run")
    [entry] = manifest["trackers"]
    with open(tmp_path / "run/trackers/codecarbon/emissions.csv", newline="") as file:
        [row] = csv.DictReader(file)
    assert entry["emissions"]["kwh"] == round(float(row["energy_consumed"]), 6)
    known = (row["latitude"], row["longitude"]) != ("46.8", "-71.2")
    assert (entry["emissions"]["grams"] is not None) == known
    assert ("co2_eq_emissions" in (tmp_path / "run/README.md").read_text()) == known
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["run"], "nothing lies beside the run"
