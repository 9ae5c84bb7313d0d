"""Own answers that CHAIR ranks: by what the benchmark counts, and what it needs to know."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mmpref.bench.scoring import chair
from mmpref.data.row_facts import objects_of
from mmpref.registry import resolve_path
from mmpref.synonyms import Synonyms
from mmpref.testbed import oracle
from mmpref.testbed.tables import testbed, testbed_objects
from mmpref.types import Example, Skip
from mmpref.vlm.policy import Policy
from tests.data.own_pairs import CAPTIONS, SYNONYMS, worker_of


def test_chair_ranks_as_the_benchmark_scores(policy: Policy, listed_examples: list[Example]) -> None:
    worker, table = worker_of(policy, "chair-rank"), Synonyms.read(resolve_path(SYNONYMS))
    samples = worker.samples(listed_examples)
    outcomes = worker(listed_examples)
    for example, answers, one in zip(listed_examples, samples, outcomes, strict=True):
        truth = [table.node[name] for name in example.objects or ()]
        naive = [chair.scores([answer], [truth], table)["chair_i"] for answer in answers if table.objects(answer)]
        if isinstance(one, Skip):
            assert one.reason == ("one-answer" if len(naive) < 2 else "tie")
            assert len(naive) < 2 or min(naive) == max(naive)
            continue
        best, worst = (chair.scores([text], [truth], table)["chair_i"] for text in (one.chosen, one.rejected))
        assert (best, worst) == (min(naive), max(naive))
        assert one.example.facts["margin"] == pytest.approx(worst - best)


def test_chair_needs_to_know_what_is_there(policy: Policy, listed_examples: list[Example]) -> None:
    unknown = [replace(example, objects=None) for example in listed_examples[:2]]
    assert [one.reason for one in worker_of(policy, "chair-rank")(unknown)] == ["no-objects"] * 2
    captions = [replace(one, objects=None) for one in listed_examples if one.prompt[-1].content in CAPTIONS]
    assert all(
        not isinstance(one, Skip) or one.reason != "no-objects"
        for one in worker_of(policy, "chair-rank", truth="answer")(captions[:2])
    )


def test_chair_reads_listed_objects_as_it_reads_answers(
    policy: Policy, listed_examples: list[Example], caplog: pytest.LogCaptureFixture
) -> None:
    listed = replace(listed_examples[0], objects=("cups", "two hammers", "gizmo"))
    worker = worker_of(policy, "chair-rank")
    assert worker._shown(listed) == {"cup", "hammer"}
    assert "no line of the table of synonyms: 'gizmo'" in caplog.text
    assert worker.notes() == {"objects_listed": 3, "objects_unknown": 1}
    begun: list[Example] = []
    worker.writer.begin = begun.extend
    worker.begin([listed, replace(listed_examples[1], objects=None)])
    assert begun == [listed], "of the others nothing is asked"
    [skip] = worker([replace(listed, objects=("gizmo",))])
    assert (skip.reason, skip.detail) == ("no-objects", "no line of the table of synonyms has 'gizmo'")


def test_objects_of_rows() -> None:
    plain, listed = next(testbed.rows("train")), next(testbed_objects.rows("train"))
    assert listed == {**plain, "objects": list(oracle.scene_of(plain["id"]).names)}
    assert objects_of(listed) == tuple(listed["objects"])
    assert objects_of({"objects": "Cup, hot dog;saw"}) == ("cup", "hot dog", "saw")
    assert objects_of({"gt_object": ["saw"], "objects": '["Cup"]'}) == ("cup",)
    assert objects_of({"gt_object": ["saw"], "objects": [{"bbox": [0, 0, 1, 1]}]}) == ("saw",)
    assert objects_of({"objects": [{"bbox": [0, 0, 1, 1]}]}) is None
    assert objects_of({"image": b""}) is None
