"""``results.json``, typed: what is read is written again byte for byte, and files of older versions are read."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mmpref.errors import InputError, RunError
from mmpref.run.results import Difference, JudgeNoise, Key, Results
from mmpref.run.results_text import decimals, interval_text, p_value_text
from mmpref.types import ModelRef


def _value(model: str, value: float, **changes: Any) -> dict[str, Any]:
    row = {
        "model": model,
        "benchmark": "pope",
        "split": "all",
        "metric": "accuracy",
        "value": value,
        "low": 0.8333333333333334,
        "high": 1.0,
        "n": 30,
        "images": 8,
        "parse_failures": 2 if model == "base" else 0,
        "missing": 0,
        "higher_is_better": True,
        "headline": True,
        "of": ["all/right", "all/n"],
        "binary": True,
        "blind": None,
        "settings_hash": "fc358a14",
        "data": {"id": "testbed-pöpe", "split": "test", "revision": None, "fingerprint": "testbed-pope/test"},
    }
    return {name: changes.get(name, value) for name, value in row.items()}


def _content() -> dict[str, Any]:
    ref = {"model": "pkg:mmpref.testbed/model", "revision": None, "adapter": None, "adapter_revision": None}
    noisy = _value("adapter", 0.5, split="random", of=None, binary=False, headline=False, higher_is_better=None)
    noise = {"repeats": 3, "deviation": 0.01, "low": 0.49, "high": 0.51}
    index = list(noisy).index("settings_hash")
    noisy = dict([*list(noisy.items())[:index], ("judge_noise", noise), *list(noisy.items())[index:]])
    return {
        "models": [{"name": "base", "ref": ref}, {"name": "adapter", "ref": {**ref, "adapter": "runs/dpo"}}],
        "adapter": {"id": "runs/dpo", "revision": None, "weights": "0"},
        "results": [_value("base", 0.9333333333333333), _value("adapter", 0.875), noisy],
        "differences": [
            {
                "benchmark": "pope",
                "split": "all",
                "metric": "accuracy",
                "value": -0.05833333333333335,
                "low": -0.1,
                "high": 0.0,
                "higher_is_better": True,
                "headline": True,
                "p": 0.0005,
                "test": "McNemar",
                "p_holm": 0.001,
                "first": 0.9333333333333333,
                "second": 0.875,
                "images": 8,
                "pairs": 30,
                "lost": 0,
                "is_form": False,
            }
        ],
        "reasoning": {"pope": {"base": {"reasoned": 3, "unfinished": 1}}},
    }


def _write(folder: Path, content: dict[str, Any]) -> Path:
    (folder / "results.json").write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return folder


@pytest.mark.parametrize("reasoning", [True, False])
def test_what_is_read_is_written_byte_for_byte(tmp_path: Path, reasoning: bool) -> None:
    content = _content()
    if not reasoning:
        del content["reasoning"]
    results = Results.read(_write(tmp_path, content))
    (tmp_path / "copy").mkdir()
    results.write(tmp_path / "copy")
    assert (tmp_path / "copy/results.json").read_bytes() == (tmp_path / "results.json").read_bytes()
    assert Results.read(tmp_path / "copy/results.json") == results


def test_values_and_differences_are_found_by_one_key() -> None:
    results = Results.from_dict(_content())
    key = Key("pope", "accuracy", "all")
    assert results.by_key("base")[key].value == pytest.approx(0.9333333)
    assert results.differences_by_key()[key].test == "McNemar"
    assert list(results.by_key("adapter")) == [key, Key("pope", "accuracy", "random")]
    assert results.by_key("adapter")["pope", "accuracy", "random"].judge_noise == JudgeNoise(3, 0.01, 0.49, 0.51)
    assert results.models["adapter"] == ModelRef("pkg:mmpref.testbed/model", adapter="runs/dpo")


def test_what_older_versions_did_not_write_is_filled_in() -> None:
    names = ("model", "benchmark", "split", "metric", "value")
    row = {name: value for name, value in _value("base", 0.5).items() if name in names}
    results = Results.from_dict({"results": [{**row, "something_new": 1}], "something_else": 2})
    [value] = results.values
    assert (value.n, value.missing, value.parse_failures, value.higher_is_better) == (0, 0, 0, None)
    assert (value.of, value.headline, value.data, results.models, results.differences) == (None, False, {}, {}, ())
    assert math.isnan(value.low)
    assert value.text() == "0.500"
    difference = Difference.from_dict({**row, "low": 0.1, "high": None})
    assert (difference.p, difference.p_holm, difference.p_text) == (None, None, "–")


def test_what_holds_no_results_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"results\.json cannot be read"):
        Results.read(tmp_path / "results.json")
    for text in ("[]", "{", "{}", '{"results": [{}]}'):
        (tmp_path / "results.json").write_text(text)
        with pytest.raises(RunError, match=r"results\.json holds no results of an evaluation"):
            Results.read(tmp_path)


def test_a_notebook_shows_a_table() -> None:
    results = Results.from_dict(_content())
    title, head, row = repr(results).splitlines()
    assert title == "evaluation: value [95 % interval]"
    assert head.split() == ["metric", "base", "adapter", "difference", "change", "p", "n", "unparsed"]
    cells = ["pope accuracy", "0.933 [0.833, 1.000]", "0.875 [0.833, 1.000]", "-0.058 [-0.100, +0.000]"]
    assert re.split(r"\s{2,}", row) == [*cells, "0.001 Holm**", "30", "2 / 0"]
    assert len(head) == len(row)
    assert "<td>-0.058 [-0.100, +0.000]</td>" in results._repr_html_()
    content = _content()
    content["results"][0]["benchmark"] = "<b>pope"
    assert "<td>&lt;b&gt;pope accuracy</td>" in Results.from_dict(content)._repr_html_()


def test_pandas() -> None:
    frame = Results.from_dict(_content()).to_pandas()
    assert frame["value"].tolist() == [0.9333333333333333, 0.875, 0.5]
    assert frame["part"].tolist() == ["all", "all", "random"]
    assert Results.from_dict(_content()).to_pandas("differences")["p_holm"].tolist() == [0.001]


def test_whole_benchmarks_stand_before_parts() -> None:
    content = _content()
    for model in ("base", "adapter"):
        content["results"].insert(0, _value(model, 0.5, split="random"))
        content["results"].append(_value(model, 20.123, benchmark="chair", metric="words"))
    _, rows = Results.from_dict(content).table()
    assert [row[0] for row in rows] == ["pope accuracy", "chair words", "pope accuracy random"]
    assert rows[1][1] == "20.1 [0.8, 1.0]", "one number has as many places as its value wants"
    brief, cells = Results.from_dict(content).table(brief=True)
    assert brief == ["metric", "base", "adapter", "difference", "change", "n"]
    assert cells[0] == ["pope accuracy", "0.933", "0.875", "-0.058 [-0.100, +0.000]", "", "30"]


@pytest.mark.parametrize(
    ("low", "high", "better", "p_holm", "direction", "mark", "verdict"),
    [
        (-0.1, 0.0, True, 0.001, "", "", "no clear change"),
        (0.01, 0.2, True, 0.0004, "better", "better***", "better"),
        (0.01, 0.2, False, 0.03, "worse", "worse*", "worse"),
        (-0.2, -0.01, False, None, "better", "better", "better"),
        (0.01, 0.2, True, 0.3, "better", "perhaps better", "perhaps better"),
        (-0.2, -0.1, None, None, "lower", "lower", "lower"),
        (math.nan, math.nan, True, None, "", "", "cannot tell"),
    ],
)
def test_what_an_interval_says(
    low: float, high: float, better: bool | None, p_holm: float | None, direction: str, mark: str, verdict: str
) -> None:
    changed = Difference(
        benchmark="pope",
        part="all",
        metric="accuracy",
        value=(low + high) / 2,
        low=low,
        high=high,
        higher_is_better=better,
        p_holm=p_holm,
    )
    assert (changed.direction, changed.mark, changed.verdict) == (direction, mark, verdict)


def test_numbers_as_text() -> None:
    assert interval_text(0.5, 0.25, 0.75) == "0.500 [0.250, 0.750]"
    assert interval_text(-0.5, -0.75, 0.0, signed=True) == "-0.500 [-0.750, +0.000]"
    assert interval_text(12.34, 10, 14, digits=1) == "12.3 [10.0, 14.0]"
    assert interval_text(math.nan, 0, 1) == "–"
    assert interval_text(1, math.nan, math.nan) == "1.000"
    assert [decimals(value) for value in (0.5, -9.9, 10, 999, -1200, math.nan)] == [3, 3, 1, 1, 0, 3]
    assert [p_value_text(p) for p in (None, 0.0004, 0.04)] == ["–", "<0.001", "0.040"]
    assert [p_value_text(0.001, p) for p in (0.0004, 0.04, 0.4)] == ["<0.001 Holm***", "0.040 Holm*", "0.400 Holm"]


def test_results_need_no_numpy() -> None:
    script = "import sys, mmpref.run.results; assert not {'numpy', 'torch', 'pandas'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)
