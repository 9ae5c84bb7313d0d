"""Prompts that Vicuna's template rendered are messages again, and no other text is taken for one."""

from __future__ import annotations

import pytest

from mmpref.tables.rows import TEMPLATE_REMOVED, read_row
from mmpref.tables.transcript import unrendered

SYSTEM = "A chat between a curious user and an artificial intelligence assistant. "


@pytest.mark.parametrize("before", ["", SYSTEM])
def test_one_round(before: str) -> None:
    assert unrendered(f"{before}USER: <image>\nWhy? ASSISTANT:") == [{"role": "user", "content": "<image>\nWhy?"}]


def test_earlier_rounds_are_kept() -> None:
    assert unrendered(f"{SYSTEM}USER: Why? ASSISTANT: So.</s>USER: And now? ASSISTANT: ") == [
        {"role": "user", "content": "Why?"},
        {"role": "assistant", "content": "So."},
        {"role": "user", "content": "And now?"},
    ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Why?",
        "What does ASSISTANT: mean?",
        "USER: Why?",
        "USER: Why? ASSISTANT: So.",
        "ASSISTANT: So. USER: Why? ASSISTANT:",
        "USER: Why? USER: Why? ASSISTANT:",
        "SUPERUSER: Why? ASSISTANT:",
    ],
)
def test_other_text_is_none(text: str) -> None:
    assert unrendered(text) is None


def test_the_reader_takes_it_off_and_tells() -> None:
    row = {"prompt": f"{SYSTEM}USER: <image>\nWhy? ASSISTANT:", "chosen": "So.", "rejected": "No.", "img_path": "a.jpg"}
    read = read_row(row, "here")
    assert ([turn.content for turn in read.prompt], read.notes) == (["Why?"], (TEMPLATE_REMOVED,))
    assert read.fault("chosen", "rejected") is None
    plain = read_row({**row, "prompt": "Why?"}, "here")
    assert (plain.prompt, plain.notes) == (read.prompt, ())
