"""The methods that ask somebody: what becomes of verdicts, ties and failures, by blocks, restarts and shards."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mmpref.data.build import build_dataset
from mmpref.data.builder import BUILDERS
from mmpref.data.recipe import BuildRecipe
from mmpref.data.summary import summary_rows
from mmpref.errors import InputError, ModelError, UsageError
from mmpref.testbed import language, oracle
from mmpref.testbed.world import Scene
from tests.data.built import rows_of
from tests.judges.server import ChatServer, fault, text_of

MODEL, EMBEDDER = "pkg:mmpref.testbed/model", "pkg:mmpref.testbed/embedder"
SAMPLED: dict[str, Any] = {"similarity_model": EMBEDDER, "max_answer_tokens": 48, "temperature": 1.5, "samples": 3}
SETTINGS: dict[str, dict[str, Any]] = {
    "candidates": SAMPLED,
    "claims": SAMPLED,
    "corrupt": {"similarity_model": EMBEDDER},
}
ROWS, BLOCK = 16, 8

pytestmark = pytest.mark.usefixtures("own_cache")


def recipe(method: str, **changes: Any) -> BuildRecipe:
    made = BuildRecipe(
        MODEL if BUILDERS.get(method).uses_model else None,
        "testbed",
        method,
        limit=ROWS,
        block_size=BLOCK,
        annotator="testbed-oracle",
        builder=SETTINGS[method],
    )
    return replace(made, **changes)


def texts(row: dict[str, Any]) -> tuple[str, str]:
    return row["chosen"][0]["content"], row["rejected"][0]["content"]


def wrong_sentences(text: str, truth: Scene) -> int:
    judged = [oracle.judge(sentence, truth) for sentence in re.split(r"(?<=\.)\s+", text)]
    return sum(bool(one.false_claims or one.hallucinated) for one in judged)


@pytest.mark.parametrize("method", SETTINGS)
def test_pairs_are_told_apart_by_the_truth_and_shards_give_the_same_bytes(method: str, tmp_path: Path) -> None:
    manifest = build_dataset(recipe(method), tmp_path / "whole")
    for index in (1, 0):
        parts = build_dataset(recipe(method), tmp_path / "split", shard=(index, 2))
    files = [sorted((tmp_path / name / "data").glob("*.parquet")) for name in ("whole", "split")]
    assert [file.read_bytes() for file in files[0]] == [file.read_bytes() for file in files[1]]
    assert parts["annotator"] == manifest["annotator"]
    rows = rows_of(tmp_path / "whole")
    assert len(rows) == manifest["counts"]["rows"] >= 4
    assert len(rows) + sum(manifest["counts"]["skipped"].values()) == ROWS
    captions = [row for row in rows if row["prompt"][0]["content"] in language.CAPTION_PROMPTS]
    assert captions
    for row in captions:
        chosen, rejected = (oracle.judge(text, oracle.scene_of(row["id"])) for text in texts(row))
        if method == "claims":  # which counts sentences that are wrong, however much of them is
            wrong = [wrong_sentences(text, oracle.scene_of(row["id"])) for text in texts(row)]
        else:
            wrong = [len(one.false_claims) + len(one.hallucinated) for one in (chosen, rejected)]
        assert wrong[0] <= wrong[1]
        assert wrong[1] > wrong[0] or len(rejected.missed) > len(chosen.missed)
    if method == "corrupt":
        assert manifest["model"] is None
        assert manifest["annotator"]["requests"] == ROWS
    else:
        assert {row["chosen_model"] for row in rows} == {MODEL}
        assert min(row["margin"] for row in rows) >= 1


def test_the_card_says_who_judged(tmp_path: Path) -> None:
    from mmpref.hub.cards.dataset import write_dataset_card

    build_dataset(recipe("candidates"), tmp_path / "run", write_card=write_dataset_card)
    card = (tmp_path / "run/README.md").read_text()
    assert "told them apart with the annotator <code>testbed-oracle</code>" in card
    assert "without annotators" not in card
    assert "### The annotator" in card
    build_dataset(recipe("corrupt"), tmp_path / "corrupt", write_card=write_dataset_card)
    card = (tmp_path / "corrupt/README.md").read_text()
    assert "written by the method <code>corrupt</code> with the annotator <code>testbed-oracle</code>" in card


def swapped(body: dict, before: int) -> str:
    found = re.findall(r"^Answer: (.*)$", text_of(body), re.M)
    return found[-1].replace("at the back", "at the front").replace("Yes", "No")


def test_corruption_by_an_endpoint(tmp_path: Path) -> None:
    with ChatServer(swapped) as server:
        asked = recipe("corrupt", annotator=f"{server.url}#m")
        manifest = build_dataset(asked, tmp_path / "run")
        rows = rows_of(tmp_path / "run")
        assert manifest["annotator"]["prompt_tokens"] == 11 * ROWS
        assert manifest["counts"]["rows"] + manifest["counts"]["skipped"]["same-as-chosen"] == ROWS
        assert all(texts(row)[1] != texts(row)[0] for row in rows)
        before = len(server.requests)
        build_dataset(asked, tmp_path / "again")
        assert len(server.requests) == before, "every reply was kept"
    assert [file.read_bytes() for file in sorted((tmp_path / "run/data").iterdir())] == [
        file.read_bytes() for file in sorted((tmp_path / "again/data").iterdir())
    ]


def test_failed_rewrites_are_counted_and_never_rows(tmp_path: Path) -> None:
    with ChatServer(lambda body, n: fault(400) if "describe" in text_of(body) else swapped(body, n)) as server:
        manifest = build_dataset(recipe("corrupt", annotator=f"{server.url}#m"), tmp_path / "run")
    failed = manifest["counts"]["skipped"]["failed-rewrite"]
    assert failed == manifest["annotator"]["failed"] > 0
    assert all("describe" not in row["prompt"][0]["content"] for row in rows_of(tmp_path / "run"))


def test_refusals_are_skips_and_wrapped_answers_are_taken_out_of_their_wrapping(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from mmpref.hub.cards.dataset import write_dataset_card

    forms = [
        "I'm sorry, but I can't help with that.",
        "```\nWrong: {}\n```",
        "Sure! Here is the rewritten answer:\n\nWrong: {}",
        "Wrong: {}",
    ]
    asked: dict[str, str] = {}

    def answer(body: dict, before: int) -> str:
        text = re.findall(r"^Answer: (.*)$", text_of(body), re.M)[-1]
        return asked.setdefault(text_of(body), forms[len(asked) % len(forms)]).format(text)

    with ChatServer(answer) as server, caplog.at_level("INFO"):
        asks = recipe("corrupt", annotator=f"{server.url}#m")
        manifest = build_dataset(asks, tmp_path / "run", write_card=write_dataset_card)
    counts = {form: list(asked.values()).count(form) for form in forms}
    assert len(asked) == ROWS, "every row asks something else"
    assert manifest["counts"]["skipped"] == {"refused": counts[forms[0]]}
    assert manifest["annotator"]["failed"] == 0
    rows = rows_of(tmp_path / "run")
    assert [texts(row)[1] for row in rows] == [f"Wrong: {texts(row)[0]}" for row in rows]
    unwrapped = counts[forms[1]] + counts[forms[2]]
    assert manifest["annotator"]["unwrapped"] == unwrapped > 0
    report = json.loads((tmp_path / "run/report.json").read_text())
    assert report["notes"]["unwrapped"] == unwrapped
    assert "can't help with that" in report["skipped"]["refused"]["first"][0]["detail"]
    assert f"{unwrapped} unwrapped" in dict(summary_rows(manifest))["annotator"]
    card = (tmp_path / "run/README.md").read_text()
    assert "taken out of a fence" in card
    assert "refused (the annotator refused to write an answer)" in card
    assert "--prompt-file" in caplog.text


def test_where_every_reply_is_a_refusal_the_error_says_so_and_what_to_do(tmp_path: Path) -> None:
    refusal = "I cannot comply with that."
    with ChatServer(lambda *_: refusal) as server, pytest.raises(InputError, match=refusal) as caught:
        build_dataset(recipe("corrupt", annotator=f"{server.url}#m"), tmp_path / "run")
    assert "--prompt-file" in caught.value.hint


def test_a_server_that_dies_stops_the_build_which_goes_on_later(tmp_path: Path) -> None:
    gone = True

    def answer(body: dict, before: int) -> Any:
        return fault(401) if gone and len(server.requests) > 12 else swapped(body, before)

    with ChatServer(answer) as server:
        asked = recipe("corrupt", annotator=f"{server.url}#m")
        with pytest.raises(ModelError):
            build_dataset(asked, tmp_path / "run")
        gone = False
        seen = len(server.requests)
        manifest = build_dataset(asked, tmp_path / "run")
        assert manifest["annotator"]["requests"] == ROWS
        assert len(server.requests) - seen < ROWS, "blocks and replies of before are not asked for again"


def test_an_annotator_that_only_likes_places_gives_no_pair(tmp_path: Path) -> None:
    with (
        ChatServer(lambda *_: "Better: Response 1") as server,
        pytest.raises(InputError, match="tie: "),
    ):
        build_dataset(recipe("candidates", annotator=f"{server.url}#m", limit=8), tmp_path / "run")
    with (
        ChatServer(lambda *_: "Hm.") as server,
        pytest.raises(InputError, match=r"no-verdict: .*names no response"),
    ):
        build_dataset(recipe("candidates", annotator=f"{server.url}#m", limit=8), tmp_path / "run2")


def test_claims_by_an_endpoint_that_also_splits(tmp_path: Path) -> None:
    """The server knows no scene: it rejects every claim of something at the back."""

    def answer(body: dict, _: int) -> str:
        text = text_of(body)
        if "Facts:" in text:
            answered = re.findall(r"^Answer: (.*)$", text, re.M)[-1]
            return "\n".join(f"- {part.strip()}" for part in answered.split(".") if part.strip())
        return "no" if re.search(r"\bback\b", text, re.I) else "yes"

    with ChatServer(answer) as server:
        spec = f"{server.url}#m"
        settings = {**SAMPLED, "splitter": spec}
        manifest = build_dataset(recipe("claims", annotator=spec, builder=settings), tmp_path / "run")
    for row in rows_of(tmp_path / "run"):
        chosen, rejected = (len(re.findall(r"[^.]*\bback\b[^.]*", text, re.I)) for text in texts(row))
        assert rejected - chosen == row["margin"] >= 1
    counts = manifest["annotator"]
    assert counts["claims"] == counts["accepted"] + counts["rejected"]


def test_the_policy_can_be_its_own_checker(tmp_path: Path) -> None:
    settings = {**SAMPLED, "instruction": "{claim}"}
    manifest = build_dataset(recipe("claims", annotator="policy", builder=settings), tmp_path / "run")
    assert manifest["annotator"]["name"] == "policy"
    assert manifest["annotator"]["claims"] > ROWS


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"annotator": None}, "asks an annotator"),
        ({"keep_rejected": True}, "writes both answers"),
        ({"builder": {**SAMPLED, "instruction": "{prompt} {first}"}}, r"no \{second\}"),
        ({"builder": {**SAMPLED, "samples": 1}}, "at least 2"),
        ({"builder": {**SAMPLED, "greedy": True}}, "makes all samples equal"),
        ({"builder": {**SAMPLED, "instruction": "{prompt} {first} {second}"}}, "takes no instruction"),
    ],
)
def test_settings_that_make_no_sense(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        build_dataset(recipe("candidates", **changes), tmp_path / "run")


def test_an_annotator_is_no_part_of_a_recipe_that_asks_none(tmp_path: Path) -> None:
    plain = BuildRecipe(None, "testbed", "mismatched", limit=8)
    manifest = build_dataset(replace(plain, annotator="testbed-oracle"), tmp_path / "run")
    assert "annotator" not in manifest
    assert json.loads((tmp_path / "run/run.json").read_text())["recipe"]["annotator"] is None


def test_the_summary_says_who_was_asked_and_what_it_took() -> None:
    counts = {"requests": 8.0, "failed": 0.0, "agreed": 3.0, "tie": 1.0, "named": 8.0, "named_first": 6.0, "cost": 0.25}
    lines = dict(
        summary_rows({"annotator": {"name": "judge", **counts}, "counts": {"rows": 3, "skipped": {}}, "seconds": 1})
    )
    assert lines["annotator"] == "judge: 8 requests, 3 agreed, 1 tie, 75% name the response shown first, cost 0.25"
    assert "annotator" not in dict(summary_rows({"counts": {"rows": 3, "skipped": {}}, "seconds": 1}))
