"""Runs side by side."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mmpref.api.evaluate import compare as compare_runs
from mmpref.bench.compare import compare
from mmpref.bench.finished_model import run_names
from mmpref.errors import InputError, RunError
from mmpref.run.asked import Asked
from tests.bench.finished_runs import finished_run


def _run(path: Path, fingerprint: str = "a", command: str = "evaluate") -> Path:
    path.mkdir()
    row = {
        "model": "base",
        "benchmark": "chair",
        "metric": "chair_i",
        "split": "all",
        "value": 0.2,
        "low": 0.1,
        "high": 0.3,
        "settings_hash": "s",
        "data": {"fingerprint": fingerprint, "split": "test"},
    }
    (path / "results.json").write_text(json.dumps({"models": [{"name": "base"}], "results": [row], "differences": []}))
    (path / "run.json").write_text(json.dumps({"command": command, "recipe": {}}))
    return path


def test_the_same_data_stand_in_one_row(tmp_path: Path) -> None:
    found = compare([_run(tmp_path / "one"), _run(tmp_path / "two")])
    assert found.models == ("one: base", "two: base")
    assert [key for key, _ in found.rows] == [("chair", "chair_i", "all")]
    assert found.warnings == ()


def test_a_base_that_several_runs_scored_alike_stands_once(tmp_path: Path) -> None:
    runs = [_run(tmp_path / name) for name in ("one", "two", "three", "four")]
    for run, revision in zip(runs, ("a", "a", "b", "a"), strict=True):
        model = {"id": "me/vlm", "revision": revision}
        (run / "run.json").write_text(json.dumps({"command": "evaluate", "recipe": {}, "model": model}))
    content = (runs[3] / "results.json").read_text()
    (runs[3] / "results.json").write_text(content.replace("0.2", "0.21"))
    assert compare(runs).models == ("two, one: base", "three: base", "four: base")
    for run in runs[:2]:  # where a number is undefined
        (run / "results.json").write_text(content.replace("0.1", "null"))
    assert compare(runs[:2]).models == ("two, one: base",)


def test_a_baseline_among_the_runs_stands_once(tmp_path: Path) -> None:
    """Against itself it would be one more claim to correct for."""
    rng = np.random.default_rng(0)
    base = (rng.random(300) < 0.6).astype(float)
    better = np.maximum(base, rng.random(300) < 0.1)
    one = finished_run(tmp_path / "a" / "eval", {"base": base, "adapter": better}, weights="1")
    two = finished_run(tmp_path / "b" / "eval", {"base": base, "adapter": base}, weights="2")
    found = compare_runs(one, two, baseline=one).comparison
    assert found.models == ("a/eval: adapter", "b/eval, a/eval: base", "b/eval: adapter")
    assert found.claims == 2
    assert compare_runs(one, baseline=f"{one}#base").comparison.models == ("eval: base", "eval: adapter")
    assert compare_runs(two, baseline=one).comparison.models == ("a/eval: adapter", "eval: base", "eval: adapter")


def test_other_data_are_warned_of(tmp_path: Path) -> None:
    found = compare([_run(tmp_path / "one"), _run(tmp_path / "two", "b")])
    assert "the data differ between one: base and two: base" in found.warnings[0]


def test_the_same_rows_asked_otherwise_are_not_tested(tmp_path: Path) -> None:
    """With other images, or by another version of mmpref: settings and data are alike."""
    right = (np.arange(60) % 3 > 0).astype(float)
    runs = [finished_run(tmp_path / name, {"base": right, "adapter": right}, weights=name) for name in ("one", "two")]

    def asked(*hashes: str) -> list[str]:
        for run, digest in zip(runs, hashes, strict=False):
            manifest = json.loads((run / "run.json").read_text())
            (run / "run.json").write_text(json.dumps({**manifest, "data": {"pope": {"samples": digest}}}))
        found = compare_runs(runs[0], baseline=runs[1]).comparison
        assert found.claims == (0 if found.warnings else 2)
        return list(found.warnings)

    assert asked("a") == []
    assert asked("a", "a") == []
    assert len(warnings := asked("a", "b")) == 2
    assert "pope: the questions or their images differ between two: adapter and one: adapter" in warnings[1]


def _two_runs(folder: Path, benchmark: str = "pope") -> list[Path]:
    right = (np.arange(60) % 3 > 0).astype(float)
    found = {"base": right, "adapter": right}
    return [finished_run(folder / name, found, weights=name, benchmark=benchmark) for name in ("one", "two")]


def _edit(file: Path, **facts: object) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **facts}))


def _warnings_of(first: Path, second: Path) -> list[str]:
    found = compare_runs(first, baseline=second).comparison
    assert found.claims == (0 if found.warnings else 2)
    return list(found.warnings)


def test_answers_scored_with_another_table_of_words_are_not_tested(tmp_path: Path) -> None:
    """A file of the same name with other content: settings and questions are alike."""
    one, two = _two_runs(tmp_path, "chair")
    _edit(one / "run.json", data={"chair": {"samples": "s", "files": {"synonyms": "sha256:a", "images": "sha256:1"}}})
    assert _warnings_of(one, two) == []  # the other did not record it
    _edit(two / "run.json", data={"chair": {"samples": "s", "files": {"synonyms": "sha256:a", "images": "sha256:2"}}})
    assert _warnings_of(one, two) == []  # where images lie decides nothing
    _edit(two / "run.json", data={"chair": {"samples": "s", "files": {"synonyms": "sha256:b", "images": "sha256:1"}}})
    assert len(warnings := _warnings_of(one, two)) == 2
    assert "chair: the files that it is scored with differ between two: adapter and one: adapter" in warnings[1]
    assert len(compare([one, two]).models) == 4  # one base, scored in two ways


def test_replies_read_with_other_markers_of_reasoning_are_not_tested(tmp_path: Path) -> None:
    one, two = _two_runs(tmp_path)
    _edit(one / "run.json", recipe={"model": "me/vlm", "thinking": ["<a> </a>"]})
    assert _warnings_of(one, two) == []
    _edit(two / "run.json", recipe={"model": "me/vlm", "thinking": []})
    assert "pope: the markers of reasoning differ between" in _warnings_of(one, two)[0]


def test_verdicts_of_another_judge_are_not_tested(tmp_path: Path) -> None:
    """One that the benchmark's own code asks, whose name no metric has."""
    one, two = _two_runs(tmp_path)

    def judged(run: Path, changed: dict[str, str] | None) -> None:
        _edit(run / "results.json", asked={"pope": {"benchmark": "pope", "label": "pope", "changed": changed}})

    judged(one, {"judge": "gpt-4o (OpenAIServer)"})
    assert _warnings_of(one, two) == []
    for unknown in (None, {}):
        judged(two, unknown)
        assert _warnings_of(one, two) == []
    judged(two, {"judge": "gpt-3.5 (OpenAIServer)"})
    assert "pope: the judge differs between two: adapter and one: adapter" in _warnings_of(one, two)[1]


def test_only_finished_evaluations_are_compared(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not an evaluation"):
        compare([_run(tmp_path / "one", command="train")])
    with pytest.raises(RunError, match="not a run directory"):
        compare([tmp_path])


def _counted(path: Path, samples: int, missing: int = 0) -> Path:
    run = _run(path)
    manifest = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**manifest, "counts": {"chair": samples}, "missing": {"chair": missing}}))
    return run


def test_other_numbers_of_samples_are_warned_of(tmp_path: Path) -> None:
    one, two, three = (_counted(tmp_path / str(n), n, missing) for n, missing in ((24, 0), (200, 0), (201, 1)))
    assert "the number of samples differs between 24: base and 200: base" in compare([one, two]).warnings[0]
    assert len(compare([one, two]).warnings) == 1
    assert any("the number of missing samples differs" in warning for warning in compare([two, three]).warnings)
    again = _counted(tmp_path / "again", 24)
    assert compare([one, again]).warnings == ()


@pytest.mark.parametrize(
    ("runs", "names"),
    [
        (["runs/a", "runs/b"], ["a", "b"]),
        (["runs/reproduce-my.yaml/evaluate"], ["reproduce-my.yaml"]),
        (["runs/one/evaluate", "runs/two/evaluate", "runs/chair"], ["one", "two", "chair"]),
        (["one/eval", "two/eval"], ["one/eval", "two/eval"]),
        (["runs/a/evaluate", "runs/a"], ["evaluate", "a"]),
        (["runs/a", "./runs/a"], ["a", "a"]),
        ([], []),
    ],
)
def test_runs_are_named_so_that_readers_tell_them_apart(runs: list[str], names: list[str]) -> None:
    assert run_names([Path(run) for run in runs]) == names


def test_settings_that_differ_are_named(tmp_path: Path) -> None:
    runs = [_run(tmp_path / name) for name in ("one", "two")]

    def warned(*settings: dict[str, object] | None) -> str:
        for run, digest, changed in zip(runs, "ab", settings, strict=True):
            content = json.loads((run / "results.json").read_text())
            content["results"][0]["settings_hash"] = digest
            asked = {"chair": Asked("chair", "chair", changed=changed).as_dict()}
            (run / "results.json").write_text(json.dumps({**content, "asked": asked}))
        return compare(runs).warnings[0]

    both = "between one: base and two: base; do not compare these numbers."
    assert warned({"synonyms": "a.txt"}, {"max_new_tokens": 64, "synonyms": "a.txt"}) == (
        f"chair: the settings differ (max_new_tokens) {both}"
    )
    assert warned({"prompt": "Describe."}, {"max_new_tokens": 64}).startswith(
        "chair: the settings differ (max_new_tokens, prompt) between"
    )
    assert warned(None, {"max_new_tokens": 64}) == f"chair: the settings differ {both}", "of before they were recorded"
