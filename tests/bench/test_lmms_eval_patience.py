"""When a judge of lmms-eval's counts as gone, by the errors of the libraries that it may be asked by."""

from __future__ import annotations

from typing import Any

import httpx
import openai
import pytest
import requests

from mmpref.bench.lmms_eval_judge import Patience
from mmpref.errors import ModelError
from mmpref.judges.endpoint import MAX_FAILURES

_REQUEST = httpx.Request("POST", "http://judge/v1")


class BedrockError(Exception):
    """As botocore's ClientError, which is not installed: the status is within a dict."""

    def __init__(self, status: int) -> None:
        super().__init__(f"refused with {status}")
        self.response: dict[str, Any] = {"Error": {}, "ResponseMetadata": {"HTTPStatusCode": status}}


def errors(status: int) -> list[Exception]:
    """Of a server that refuses, as each library raises it."""
    response, other = httpx.Response(status, request=_REQUEST), requests.Response()
    other.status_code = status
    return [
        openai.APIStatusError("refused", response=response, body=None),
        httpx.HTTPStatusError("refused", request=_REQUEST, response=response),
        requests.HTTPError("refused", response=other),
        BedrockError(status),
    ]


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_judge_that_refuses_access_is_gone_at_once(status: int) -> None:
    for error in errors(status):
        with pytest.raises(ModelError, match="tiny gave no reply"):
            Patience("tiny").failed(error)


@pytest.mark.parametrize("status", [400, 422])
def test_requests_that_are_refused_are_no_failures_of_the_judge(status: int) -> None:
    for error in errors(status):
        patience = Patience("tiny")
        assert {patience.failed(error) for _ in range(MAX_FAILURES + 1)} == {f"{type(error).__name__}: {error}"}


def test_a_request_that_is_moderated_is_no_failure_of_the_judge() -> None:
    said = {"error": {"code": "content_policy_violation", "message": "no"}}
    response, other = httpx.Response(403, request=_REQUEST, json=said), requests.Response()
    other.status_code, other._content = 403, response.content
    for error in (
        openai.PermissionDeniedError("refused", response=response, body=said["error"]),
        httpx.HTTPStatusError("refused", request=_REQUEST, response=response),
        requests.HTTPError("refused", response=other),
    ):
        patience = Patience("tiny")
        assert {patience.failed(error) for _ in range(MAX_FAILURES + 1)} == {f"{type(error).__name__}: {error}"}


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError("refused"),
        requests.ConnectionError("refused"),
        httpx.ConnectError("refused"),
        openai.APIConnectionError(request=_REQUEST),
    ],
)
def test_a_judge_that_cannot_be_reached_is_gone_at_once(error: Exception) -> None:
    with pytest.raises(ModelError, match="tiny gave no reply"):
        Patience("tiny").failed(error)


@pytest.mark.parametrize(
    "error",
    [
        *errors(429),
        *errors(500),
        TimeoutError("slow"),
        requests.ConnectTimeout("slow"),
        requests.ReadTimeout("slow"),
        httpx.ConnectTimeout("slow"),
        openai.APITimeoutError(request=_REQUEST),
        ValueError("no completion"),
    ],
)
def test_what_may_pass_is_waited_for_so_many_times(error: Exception) -> None:
    patience = Patience("tiny")
    for _ in range(MAX_FAILURES - 1):
        patience.failed(error)
    patience.replied()
    for _ in range(MAX_FAILURES - 1):
        patience.failed(error)
    with pytest.raises(ModelError, match="tiny gave no reply"):
        patience.failed(error)
