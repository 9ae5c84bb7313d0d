"""Judges that lmms-eval's tasks ask by themselves, by its own providers and a real server."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.routing import Route

from mmpref.bench.benchmark import Sample
from mmpref.bench.benchmarks import lmms_eval
from mmpref.bench.benchmarks.lmms_eval import LmmsEvalTask, Settings
from mmpref.bench.evaluate import evaluate
from mmpref.bench.lmms_eval_judge import judges_of, name_of, refuse_unavailable, requests_watched
from mmpref.bench.lmms_eval_task import HarnessTask, Scores, load_task
from mmpref.bench.recipe import EvaluateRecipe
from mmpref.bench.records import read_records
from mmpref.cli.format import print_results
from mmpref.errors import ModelError, RunError, UsageError
from mmpref.judges.endpoint import MAX_FAILURES
from mmpref.run.results import Results
from mmpref.types import Message
from tests.bench.conftest import MODEL
from tests.judges.server import ChatServer, fault, finished, text_of

pytestmark = [
    pytest.mark.skipif(find_spec("lmms_eval") is None, reason="lmms-eval is not installed"),
    pytest.mark.usefixtures("own_cache"),
]

UTILS = '''
from lmms_eval.llm_judge import Request, ServerConfig, get_server


class Reader:
    """Takes a reply that failed for an empty one, as MathVista's evaluator does."""

    server = get_server("openai", ServerConfig("reader-1", num_retries=1, retry_delay=0))

    def read(self, text):
        for _ in range(2):
            try:
                reply = self.server.evaluate(Request([{"role": "user", "content": text}]))
            except Exception:
                continue
            if reply.success:
                return reply.content
        return ""


READER = Reader()


def read(text):
    return text[1:] if text.startswith("=") else READER.read(text)


def asking(doc, results):
    return {"exact_match": float(read(results[0]) == doc["answer"])}


def plain(doc, results):
    return {"exact_match": float(results[0] == doc["answer"])}


def aggregate(items, scale):
    return scale * sum(items) / len(items)
'''

NOBODY = "http://127.0.0.1:9/v1"
"""Nobody listens there."""


@pytest.fixture
def code(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """A task's code, loaded as lmms-eval does, with a key and the URL of a server of a kind (``API_TYPE``)."""

    def load(url: str = NOBODY, kind: str = "openai") -> Any:
        monkeypatch.setenv("OPENAI_API_KEY", "x")
        monkeypatch.setenv("OPENAI_API_URL", url if "openai" in kind else NOBODY)
        monkeypatch.setenv("LLM_JUDGE_URL", f"{url}/chat/completions")
        monkeypatch.setenv("AZURE_API_KEY", "x")
        monkeypatch.setenv("AZURE_ENDPOINT", url.removesuffix("/v1"))
        names: dict[str, Any] = {"__name__": "utils"}
        exec(UTILS.replace("openai", kind), names)
        return SimpleNamespace(**names)

    return load


def test_only_a_judge_that_is_asked_is_found_and_its_key_is_wanted_first(code: Callable[..., Any]) -> None:
    own = code()
    [judge] = judges_of([own.plain, own.asking, partial(own.aggregate, scale=2), None])
    assert judge is own.READER.server
    assert name_of(judge) == "reader-1 (OpenAIProvider)"
    assert judges_of([own.plain, partial(own.aggregate, scale=2)]) == []
    refuse_unavailable("tiny", [judge])
    judge.api_key = ""  # some versions of the openai library refuse that themselves, when the task's code is loaded
    with pytest.raises(UsageError, match=r"tiny asks a judge by itself, reader-1 \(OpenAIProvider\), and its key is"):
        refuse_unavailable("tiny", [judge])


@pytest.fixture
def harness(code: Callable[..., Any]) -> Callable[..., HarnessTask]:
    """A task of one question, right if the judge reads yes, whose judge is behind a URL. It is not asked about answers
    that begin with an equals sign."""

    def load(url: str, kind: str = "openai") -> HarnessTask:
        own = code(url, kind)
        task = SimpleNamespace(
            eval_docs_no_media=[{"answer": "yes"}],
            _filters=[SimpleNamespace(name="none", apply=lambda instances, docs: _filtered(instances))],
            process_results=own.asking,
            aggregation=lambda: {"exact_match": None},
        )
        made = HarnessTask("tiny", task, judges_of([own.asking]))
        made._instances[0] = SimpleNamespace()
        return made

    return load


def test_a_reply_that_failed_is_no_wrong_answer_and_an_answer_is_judged_once(
    harness: Callable[..., HarnessTask],
) -> None:
    faults = iter([fault(400, "content filter"), fault(400, "content filter"), fault(400)])

    def reply(body: dict[str, Any], _: int) -> Any:
        return next(faults, None) or text_of(body).lower()

    with ChatServer(reply) as server:
        task = harness(server.url)
        [judge] = task._judges
        assert task.judge == "reader-1 (OpenAIProvider)"
        assert "content filter" in task.scores(0, "YES").unjudged
        assert len(server.requests) == 2
        assert task.scores(0, "YES") == Scores({"exact_match": 1.0}), "its second try succeeds"
        assert task.scores(0, "No") == Scores({"exact_match": 0.0})
        assert len(server.requests) == 5
        assert task.scores(0, "YES") == Scores({"exact_match": 1.0})
        assert len(server.requests) == 5
        evaluated = type(judge).evaluate
        with requests_watched():
            assert type(judge).evaluate is not evaluated
        assert type(judge).evaluate is evaluated


@pytest.mark.parametrize("reply", [" ", finished(None, "content_filter")])
def test_an_empty_reply_is_none(reply: Any, harness: Callable[..., HarnessTask]) -> None:
    with ChatServer(lambda *_: reply) as server:
        assert harness(server.url).scores(0, "YES").unjudged


def test_a_judge_that_is_gone_ends_the_work_and_one_that_refuses_does_not(
    harness: Callable[..., HarnessTask],
) -> None:
    with ChatServer(lambda *_: fault(401)) as server, pytest.raises(ModelError, match=r"tiny gave no reply.*401"):
        harness(server.url).scores(0, "YES")
    with ChatServer(lambda *_: fault(400)) as server:
        task = harness(server.url)
        assert all(task.scores(0, f"{number}").unjudged for number in range(MAX_FAILURES + 1))
    with ChatServer(lambda body, _: "" if "?" in text_of(body) else "yes") as server:
        task = harness(server.url)
        for _ in range(2):
            assert all(task.scores(0, f"{number}?").unjudged for number in range(MAX_FAILURES - 1))
            assert not task.scores(0, "yes").unjudged
            task._judged.clear()
        with pytest.raises(ModelError, match="an empty reply"):
            [task.scores(0, f"{number}?") for number in range(MAX_FAILURES)]


@pytest.mark.parametrize("other", ["=yes", "known"])
def test_answers_that_need_no_judge_do_not_hide_that_it_is_gone(
    other: str, harness: Callable[..., HarnessTask]
) -> None:
    """They are read without it, or it has replied to them before."""
    quota = fault(429, "insufficient_quota", x_should_retry="false")
    with ChatServer(lambda body, _: "yes" if text_of(body) == "known" else quota) as server:
        assert not harness(server.url).scores(0, "known").unjudged
        task = harness(server.url)
        for number in range(MAX_FAILURES - 1):
            assert task.scores(0, f"{number}").unjudged
            task._judged.clear()
            assert not task.scores(0, other).unjudged
        with pytest.raises(ModelError, match="insufficient_quota"):
            task.scores(0, "one more")


class AzureServer(ChatServer):
    def routes(self) -> list[Route]:
        return [Route("/openai/deployments/{name}/chat/completions", self._complete, methods=["POST"])]


@pytest.mark.parametrize("kind", ["openai", "async_openai", "local", "azure", "async_azure"])
def test_a_reply_is_of_the_server_that_gave_it(kind: str, harness: Callable[..., HarnessTask]) -> None:
    with AzureServer(lambda *_: "yes") as first, AzureServer(lambda *_: "no") as second:
        for _ in range(2):
            assert harness(first.url, kind).scores(0, "YES") == Scores({"exact_match": 1.0})
            assert harness(second.url, kind).scores(0, "YES") == Scores({"exact_match": 0.0})
        assert len(first.requests) == len(second.requests) == 1


def test_a_cache_that_cannot_be_written_is_no_fault_of_the_judge(
    harness: Callable[..., HarnessTask], tmp_path: Path
) -> None:
    (tmp_path / "cache").write_text("a file")
    with ChatServer(lambda *_: "yes") as server:
        with pytest.raises(RunError, match=r"Cannot write .*MMPREF_CACHE"):
            harness(server.url).scores(0, "YES")
        assert len(server.requests) == 1


def test_a_local_judge_is_gone_by_the_same_rule(harness: Callable[..., HarnessTask]) -> None:
    with ChatServer(lambda *_: fault(400)) as server:
        task = harness(server.url, "local")
        assert all(task.scores(0, f"{number}").unjudged for number in range(MAX_FAILURES + 1))
    with ChatServer(lambda *_: fault(401)) as server, pytest.raises(ModelError, match=r"tiny gave no reply.*401"):
        harness(server.url, "local").scores(0, "YES")
    with pytest.raises(ModelError, match=r"tiny gave no reply.*ConnectionError"):
        harness(NOBODY, "local").scores(0, "YES")


def test_nothing_was_read_in_an_answer_without_a_verdict(
    harness: Callable[..., HarnessTask], monkeypatch: pytest.MonkeyPatch
) -> None:
    with ChatServer(lambda *_: fault(400)) as server:
        monkeypatch.setattr(lmms_eval, "load_task", lambda *_: harness(server.url))
        sample = Sample("0", "0", None, (Message("user", "?"),), {"stops": []})
        score = LmmsEvalTask("tiny", Settings()).score(sample, "YES")
    assert score.unjudged
    assert score.parsed == ""


def test_a_prompt_that_is_shortened_until_it_is_answered_has_not_failed(code: Callable[..., Any]) -> None:
    """As MathVista's evaluator does, from the front; a reply about something else mends nothing."""

    def failed(*texts: str) -> list[str]:
        with requests_watched() as watched:
            for text in texts:
                with contextlib.suppress(Exception):
                    own.READER.server.evaluate(own.Request([{"role": "user", "content": text}]))
        return [*watched.failed]

    with ChatServer(lambda body, _: fault(400) if len(text_of(body)) > 20 else "yes") as server:
        own = code(server.url)
        assert failed("what was said, and then: yes", "and then: yes") == []
        assert failed("what was said, and then: yes", "and then: no") == ["what was said, and then: yes"]


TASK = """\
task: read
dataset_path: json
dataset_kwargs: {{data_files: {{test: {rows}}}}}
test_split: test
output_type: generate_until
doc_to_text: "question"
doc_to_target: "answer"
generation_kwargs: {{max_new_tokens: 8, temperature: 0, do_sample: false}}
process_results: !function utils.asking
metric_list: [{{metric: exact_match, aggregation: mean, higher_is_better: true}}]
metadata: {{version: 1.0}}
"""


@pytest.mark.parametrize("raises", [False, True])
def test_answers_that_a_judge_refuses_are_missing_and_told(
    raises: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of four answers it refuses one, then three; the task's code takes that for an empty reply, or raises."""
    rows = [{"question": f"Is it so? {number}", "answer": "yes"} for number in range(4)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "read.yaml").write_text(TASK.format(rows=tmp_path / "rows.jsonl"))
    reads = "f\"{doc['question']} {results[0]}\""
    text = UTILS.replace("read(results[0]) ==", f"read({reads}) ==")
    (tmp_path / "utils.py").write_text(text.replace('return ""', "raise ValueError") if raises else text)
    refused = ["so? 1"]

    def reply(body: dict[str, Any], _: int) -> Any:
        filtered = any(one in text_of(body) for one in refused)
        return fault(400, "content filter") if filtered else "no" if "so? 2" in text_of(body) else "yes"

    name = "lmms-eval:read"
    recipe = EvaluateRecipe(MODEL, (name,), benchmark={name: {"include": str(tmp_path)}})
    with ChatServer(reply) as server:
        monkeypatch.setenv("OPENAI_API_KEY", "x")
        monkeypatch.setenv("OPENAI_API_URL", server.url)
        load_task.cache_clear()
        found = evaluate(recipe, tmp_path / "run")
        shutil.rmtree(tmp_path / "cache")
        refused[:] = ["so? 0", "so? 1", "so? 3"]
        load_task.cache_clear()
        with pytest.raises(
            ModelError, match=r"a verdict on 1 of 4 answers to lmms-eval\.read: too few.*content filter"
        ) as caught:
            evaluate(recipe, tmp_path / "few")
        assert str(caught.value).count("content filter") == 1
        refused.clear()
        asked = len(server.requests)
        assert evaluate(recipe, tmp_path / "few")["missing"] == {"lmms-eval.read": {"base": 0}}
        assert len(server.requests) == asked + 3, "only those are asked again"
    [value] = found["results"]
    assert (value["value"], value["n"], value["missing"]) == (pytest.approx(2 / 3), 3, 1)
    assert found["missing"] == {"lmms-eval.read": {"base": 1}}
    kept = read_records(tmp_path / "run", "base", "lmms-eval.read")
    assert [record.missing for record in kept] == [False, True, False, False]
    print_results(Results.from_dict(found), found)
    shown = " ".join(capsys.readouterr().out.split())
    assert "lmms-eval.read: 1 answer of base came to no verdict of the judge" in shown
    assert "content filter" in shown


def _filtered(instances: list[Any]) -> None:
    for instance in instances:
        instance.filtered_resps = {"none": instance.resps[0]}
