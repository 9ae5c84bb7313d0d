"""The three runs of a whole loop that its page is made of, small, as their commands leave them."""

from __future__ import annotations

import json
from pathlib import Path

from mmpref.cli.pages.report import write_report
from tests.hub.runs import adapter_manifest, dataset_run, evaluation


def report_page(folder: Path, text: str) -> str:
    """The page of a loop in which users, models and libraries say `text` wherever they may."""
    built, trained, evaluated = (folder / name for name in ("build-dataset", "train", "evaluate"))
    dataset_run(built, source={"id": text, "split": "train", "revision": None, "fingerprint": "0" * 40})
    report = json.loads((built / "report.json").read_text())
    (built / "report.json").write_text(json.dumps({**report, "warnings": [text], "skipped": {text: {"count": 1}}}))
    trained.mkdir()
    (trained / "run.json").write_text(json.dumps(adapter_manifest(steps=3, remarks=[text])))
    (trained / "training.png").write_bytes(b"\x89PNG")
    evaluated.mkdir()
    (evaluated / "results.json").write_text(json.dumps(evaluation(benchmark=text)).replace('"random"', '"all"'))
    manifest = {"command": "evaluate", "recipe": {"model": text}, "recipe_hash": "ab" * 32, "versions": {text: text}}
    (evaluated / "run.json").write_text(json.dumps(manifest))
    return write_report(folder, built, trained, evaluated).read_text(encoding="utf-8")
