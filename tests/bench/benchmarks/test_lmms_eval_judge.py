"""Judges that lmms-eval's tasks ask by themselves, by its own providers and a real server."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import pytest

from mmpref.bench.lmms_eval_judge import failures_raise, judges_of, name_of, refuse_unavailable
from mmpref.bench.lmms_eval_task import HarnessTask
from mmpref.errors import InputError, UsageError
from tests.judges.server import ChatServer, fault, text_of

pytestmark = pytest.mark.skipif(find_spec("lmms_eval") is None, reason="lmms-eval is not installed")

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
    return READER.read(text)


def asking(doc, results):
    return {"exact_match": float(read(results[0]) == doc["answer"])}


def plain(doc, results):
    return {"exact_match": float(results[0] == doc["answer"])}


def aggregate(items, scale):
    return scale * sum(items) / len(items)
'''


@pytest.fixture
def code(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """A task's code, loaded as lmms-eval does, with a key and the URL of a server."""

    def load(url: str = "http://127.0.0.1:9/v1") -> Any:
        monkeypatch.setenv("OPENAI_API_KEY", "x")
        monkeypatch.setenv("OPENAI_API_URL", url)
        names: dict[str, Any] = {"__name__": "utils"}
        exec(UTILS, names)
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


def test_a_reply_that_failed_is_no_wrong_answer_and_an_answer_is_judged_once(code: Callable[..., Any]) -> None:
    faults = iter([fault(400), fault(400), fault(400)])

    def reply(body: dict[str, Any], _: int) -> Any:
        return next(faults, None) or text_of(body).lower()

    with ChatServer(reply) as server:
        own = code(server.url)
        judges = judges_of([own.asking])
        refuse_unavailable("tiny", judges)
        task = SimpleNamespace(
            eval_docs_no_media=[{"answer": "yes"}],
            _filters=[SimpleNamespace(apply=lambda instances, docs: _filtered(instances))],
            process_results=own.asking,
            aggregation=lambda: {"exact_match": None},
        )
        harness = HarnessTask("tiny", task, judges)
        assert harness.judge == "reader-1 (OpenAIProvider)"
        harness._instances[0] = SimpleNamespace()
        with pytest.raises(InputError, match="The judge of lmms-eval's task tiny gave no reply"):
            harness.scores(0, "YES")
        assert len(server.requests) == 2
        assert harness.scores(0, "YES") == {"exact_match": 1.0}, "its second try succeeds"
        assert harness.scores(0, "No") == {"exact_match": 0.0}
        assert len(server.requests) == 5
        assert harness.scores(0, "YES") == {"exact_match": 1.0}
        assert len(server.requests) == 5
        evaluate = type(judges[0]).evaluate
        with failures_raise("tiny"):
            assert type(judges[0]).evaluate is not evaluate
        assert type(judges[0]).evaluate is evaluate


def test_a_prompt_that_is_shortened_until_it_is_answered_has_not_failed(code: Callable[..., Any]) -> None:
    """As MathVista's evaluator does, from the front; a reply about something else mends nothing."""

    def ask(*texts: str) -> None:
        with failures_raise("tiny"):
            for text in texts:
                with contextlib.suppress(Exception):
                    own.READER.server.evaluate(own.Request([{"role": "user", "content": text}]))

    with ChatServer(lambda body, _: fault(400) if len(text_of(body)) > 20 else "yes") as server:
        own = code(server.url)
        ask("what was said, and then: yes", "and then: yes")
        with pytest.raises(InputError, match="gave no reply"):
            ask("what was said, and then: yes", "and then: no")


def _filtered(instances: list[Any]) -> None:
    for instance in instances:
        instance.filtered_resps = {"none": instance.resps[0]}
