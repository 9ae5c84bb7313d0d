"""Pages of hostile texts run nothing and load nothing, and the texts are there to be read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmpref.bench.compare import compare
from mmpref.cli.pages import compare as comparison
from mmpref.cli.pages import study
from mmpref.cli.pages.study_scenes import Scene
from mmpref.study.conclude import conclude
from mmpref.study.measurement import Failure
from tests.bench.finished_runs import finished_run
from tests.cli.looped import report_page
from tests.markup import Markup
from tests.study.ledgers import measured, plan_of

HOSTILE = (
    "</td></style></title></script><script>alert(1)</script><img src=x onerror=alert(1)>"
    "\" onmouseover=\"alert(1)\" ' onfocus='alert(1)' <a href=javascript:alert(1)>x</a> {{ 7 * 7 }} &lt;b&gt; <!--"
)


def compared_page(folder: Path, text: str) -> str:
    """Of two models, one of which is named so and has answered so; so was asked, and so was right."""
    run = finished_run(folder / "run", {"base": np.zeros(40), "adapter": np.ones(40)})
    for file in (run / "samples").glob("*-pope.parquet"):
        rows = [
            {**row, "prompt": text, "reference": json.dumps(text), "answer": f"{file.stem} {text}"}
            for row in pq.read_table(file).to_pylist()
        ]
        pq.write_table(pa.Table.from_pylist(rows, schema=pq.read_schema(file)), file)
    manifest = json.loads((run / "run.json").read_text())
    manifest["adapter"]["id"] = text
    (run / "run.json").write_text(json.dumps(manifest))
    return comparison.page(compare([run]), title=text)


def study_page(folder: Path, text: str) -> str:
    """Of a row that is named so, another that failed so, and a scene of which a model said so."""
    plan = plan_of(folder, [text, "sft"])
    runs = [measured(row, rate, base) for row, rate in (("base", 0.2), (text, 0.1)) for base in range(2)]
    scene = Scene(None, text, (("base", ((text, False), (text, True))),))
    return study.page(conclude(plan, runs, [Failure("sft", 0, 1, {}, False, text)]), [scene], text)


@pytest.mark.parametrize("made", [report_page, compared_page, study_page])
def test_hostile_texts_stay_text(made: Callable[[Path, str], str], tmp_path: Path) -> None:
    page = Markup(made(tmp_path, HOSTILE))
    page.assert_runs_nothing()
    assert all(address.startswith("data:image/") for address in page.addresses())
    assert HOSTILE in page.text
