"""The metrics that the `evaluate` library loads say what the benchmarks say."""

from __future__ import annotations

import os
from pathlib import Path

from mmpref.bench.scoring import vqa
from tests import bare

METRICS = Path(vqa.__file__).parents[1] / "metrics"


def test_metrics_load_with_evaluate_offline(tmp_path: Path) -> None:
    """In a process of its own: the library reads its offline switch at import."""
    synonyms = tmp_path / "synonyms.txt"
    synonyms.write_text("bird, duck\ndog, puppy\n")
    script = f"""
import evaluate
def compute(name, **values):
    return evaluate.load({str(METRICS)!r} + "/" + name).compute(**values)
found = compute("pope", predictions=["Yes", "No", ""], references=["yes", "yes", "no"])
assert (found["accuracy"], found["parse_failures"]) == (1 / 3, 1), found
found = compute("chair", predictions=["a dog and a bird"], references=[["Dogs"]], synonyms={str(synonyms)!r})
assert (found["chair_i"], found["recall"]) == (0.5, 1), found
found = compute("vqa_accuracy", predictions=["Red.", "x"], references=[["red"] * 10, ["red"] * 10])
assert found == {{"vqa_accuracy": 0.5}}, found
found = compute("gqa", predictions=["Yes.", "yes!", "no"], references=["yes"] * 3)
assert found == {{"accuracy": 1 / 3, "accuracy_no_punctuation": 2 / 3}}, found
found = compute("mmstar", predictions=["B", "Apples", "x"], references=["B", "A", "C"])
assert found == {{"accuracy": 2 / 3, "accuracy_strict": 1 / 3, "parse_failures": 2}}, found
"""
    environment = {**os.environ, "HF_EVALUATE_OFFLINE": "1", "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home")}
    done = bare.python(script, environment=environment)
    assert done.returncode == 0, done.stderr
