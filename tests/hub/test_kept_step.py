"""A card says which step is kept, what chose it on which data, what the base had, and what its numbers are means of."""

from __future__ import annotations

from typing import Any

import pytest

from mmpref.align.summary import summary_rows
from mmpref.hub.cards.kept_step import final_title, kept_text
from mmpref.hub.cards.model import model_card
from tests.hub.runs import COMMIT, adapter_manifest

DATA = {"id": "/home/someone/dev.jsonl", "split": "dev", "revision": None, "fingerprint": "sha256:12ab"}
WATCHED = {"benchmark": "pope", "label": "pope", "data": DATA, "questions": 40, "images": 20}


def _manifest(best: bool = True, **changes: Any) -> dict[str, Any]:
    steps = ((0, 0.7), (20, 0.81), (40, 0.78), (80, 0.75))
    kept = {"step": 20, "metric": "pope/accuracy", "value": 0.81, "base": 0.7}
    return adapter_manifest(
        steps=80,
        evaluations=[
            {"step": step, "pope/accuracy": value, "pope/f1": value, "higher_is_better": True} for step, value in steps
        ],
        best=kept if best else None,
        watched={"pope": WATCHED},
        final_over={"first": 18, "last": 20, "rows": 3},
        **changes,
    )


def test_the_kept_step_is_said() -> None:
    card = model_card(_manifest())
    assert (
        "**Kept is the adapter of step 20 of 80**, where <code>pope/accuracy</code> was best: 0.810 (0.700 with the "
        "base). It was chosen on <code>dev.jsonl</code> (40 questions, <code>sha256:12ab</code>): results on these "
        "data are too good"
    ) in card
    assert "| while training | base (step 0) | **kept: step 20** | step 80 |" in card
    assert "| pope/accuracy | 0.700 | 0.810 | 0.750 |" in card
    assert "Up to the kept step 20 (a mean over steps 18 to 20):" in card
    assert "At the end of training" not in card
    assert "/home/someone" not in card


@pytest.mark.parametrize("base", [0.81, 0.9])
def test_that_no_step_was_better_is_said_wherever_the_kept_one_is(base: float) -> None:
    manifest = _manifest() | {"seconds": 1}
    assert "o step was better" not in model_card(manifest) + dict(summary_rows(manifest))["steps"]
    manifest["best"]["base"] = base
    assert f"0.810 ({base:.3f} with the base). **No step was better than the base.** It was chosen" in kept_text(
        manifest
    )
    assert dict(summary_rows(manifest))["steps"].endswith("chosen on dev.jsonl); no step was better than the base")
    manifest["began"] = {"id": "me/first", "revision": COMMIT, "weights": "ab" * 32}
    assert "**No step was better than the first adapter.**" in kept_text(manifest)
    for row in manifest["evaluations"]:
        row["higher_is_better"] = False
    assert ("No step was better" in kept_text(manifest)) == (base == 0.81), "less is better, and equal is not less"


@pytest.mark.parametrize(
    ("over", "text"),
    [
        ({"first": 18, "last": 20, "rows": 3, "pairs": 72}, "72 pairs, steps 18 to 20"),
        ({"first": 20, "last": 20, "rows": 1, "pairs": 1}, "1 pair, step 20"),
        ({"first": 18, "last": 20, "rows": 3}, "steps 18 to 20"),
        ({"first": 20, "last": 20, "rows": 1}, "step 20"),
    ],
)
def test_what_numbers_are_means_over_is_told(over: dict[str, int], text: str) -> None:
    kept, ended = (_manifest(best=best) | {"final_over": over, "seconds": 1} for best in (True, False))
    assert final_title(kept) == f"Up to the kept step 20 (a mean over {text}):"
    assert final_title(ended) == f"At the end of training (a mean over {text}):"
    assert dict(summary_rows(ended))["means over"] == text


def test_a_split_is_named_where_the_data_have_one() -> None:
    manifest = _manifest() | {"seconds": 1}
    table = {**DATA, "id": "testbed-pope"}
    named = manifest | {"watched": {"pope": {**WATCHED, "data": table}}}
    assert "<code>testbed-pope</code> (split <code>dev</code>, 40 questions" in kept_text(named)
    assert dict(summary_rows(named))["steps"].endswith("chosen on testbed-pope:dev)")
    assert dict(summary_rows(manifest))["steps"].endswith("chosen on dev.jsonl)")


def test_without_a_choice_the_last_step_is_kept() -> None:
    card = model_card(_manifest(best=False))
    assert "Benchmarks while training, on <code>dev.jsonl</code>" in card
    assert "the last step is kept" in card
    assert "| while training | base (step 0) | step 80 |" in card
    assert "At the end of training (a mean over steps 18 to 20):" in card


def test_where_training_goes_on_step_0_is_no_base() -> None:
    began = {"id": "me/first", "revision": COMMIT, "weights": "ab" * 32}
    card = model_card(_manifest(began=began))
    assert "| while training | first adapter (step 0) |" in card
    assert "0.810 (0.700 with the first adapter)" in card
    assert "with the base)" not in card
    assert f"went on from the adapter <code>me/first</code> at <code>{COMMIT}</code>" in card
    assert "The reference of the loss was the base with that adapter on." in card
    steps = dict(summary_rows({**_manifest(began=began), "seconds": 1}))["steps"]
    assert "first adapter 0.700" in steps


def test_partners_are_not_drawn() -> None:
    counts = {"rows": 8, "no_partner": 2, "used": 6}
    card = model_card(adapter_manifest(drawn=counts))
    assert "Each row was set beside another one that asks the same of another image:" in card
    assert "drawn from the policy" not in card
    rows = dict(summary_rows({**adapter_manifest(drawn=counts, steps=4), "seconds": 1}))
    assert rows["partners at every step"] == "6 pairs of 8 rows; 2 no partner"


def test_runs_of_before_recorded_less() -> None:
    manifest = _manifest()
    del manifest["watched"], manifest["final_over"], manifest["best"]["base"]
    manifest["evaluations"] = manifest["evaluations"][1:]
    assert "on data that were not recorded" in kept_text(manifest)
    assert "with the base" not in kept_text(manifest)
    assert final_title(manifest) == "Up to the kept step 20 (a mean over the last tenth of the log):"
    assert kept_text(adapter_manifest()) == ""
