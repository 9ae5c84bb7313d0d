"""What was mended in a model's processor is noted in the run of an evaluation."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from mmpref.bench.evaluate import evaluate
from mmpref.bench.recipe import EvaluateRecipe
from mmpref.registry import resolve_path


def test_it_is_noted_whoever_finishes_the_run(tmp_path: Path) -> None:
    model = Path(shutil.copytree(resolve_path("pkg:mmpref.testbed/model"), tmp_path / "model"))
    file = model / "processor_config.json"
    file.chmod(0o644)
    content = json.loads(file.read_text())
    del content["num_additional_image_tokens"]
    file.write_text(json.dumps(content))
    recipe = EvaluateRecipe(str(model), ("pope",), limit=2, benchmark={"pope": {"data": "testbed-pope"}})
    evaluate(recipe, tmp_path / "run")
    noted = {"num_additional_image_tokens": 1}
    assert json.loads((tmp_path / "run/run.json").read_text())["model"]["mended"] == noted
    (tmp_path / "run/run.json").unlink()  # the answers are there: no model is loaded for them
    evaluate(recipe, tmp_path / "run")
    assert json.loads((tmp_path / "run/run.json").read_text())["model"]["mended"] == noted
