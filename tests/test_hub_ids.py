"""A pasted address of the Hub is told from an endpoint, and from an id."""

from __future__ import annotations

import pytest

from mmpref.errors import UsageError
from mmpref.hub_ids import Page, page_of, refuse_page, repo_id

PAGES = {
    "https://huggingface.co/alice/merged": Page("model", "alice/merged"),
    "https://huggingface.co/alice/merged/": Page("model", "alice/merged"),
    "http://hf.co/alice/merged?library=peft": Page("model", "alice/merged"),
    "https://huggingface.co/alice/merged/tree/main": Page("model", "alice/merged", "main"),
    "https://huggingface.co/alice/merged/blob/refs%2Fpr%2F1/config.json": Page("model", "alice/merged", "refs/pr/1"),
    "https://huggingface.co/datasets/alice/a.b-c/resolve/v1/x.parquet": Page("dataset", "alice/a.b-c", "v1"),
    "https://huggingface.co/spaces/alice/demo": Page("space", "alice/demo"),
}
OTHERS = ["alice/merged", "http://127.0.0.1:8000/v1#m", "https://huggingface.co/alice/merged#gpt", "https://evil.example/a/b",
          "https://huggingface.co/docs", "./huggingface.co/a/b", ""]  # fmt: skip


@pytest.mark.parametrize("address", PAGES)
def test_a_page_is_its_repository(address: str) -> None:
    assert page_of(address) == PAGES[address]
    assert repo_id(address) == PAGES[address].id
    with pytest.raises(UsageError, match=f"Give the id {PAGES[address].id}"):
        refuse_page(address)


@pytest.mark.parametrize("text", OTHERS)
def test_anything_else_is_none(text: str) -> None:
    assert page_of(text) is None
    assert repo_id(text) == text
    refuse_page(text)


def test_a_hub_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.example:8443/")
    assert page_of("https://hub.example:8443/datasets/a/b") == Page("dataset", "a/b")


def test_the_revision_is_told() -> None:
    with pytest.raises(UsageError, match="Give the id a/b, and v2 as its revision"):
        refuse_page("https://huggingface.co/a/b/tree/v2")
