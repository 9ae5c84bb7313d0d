"""Blocks of reasoning are taken off replies; what never comes to an answer is none."""

from __future__ import annotations

import pytest

from mmpref.errors import UsageError
from mmpref.reasoning import MARKERS, ParsedReply, markers, marks, opening, read, read_all


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ("<think>It could be there, yes.</think>\n\nNo", "No"),
        ("It could be there, yes.\n</think>\n\nNo", "No"),  # the prompt opened it
        ("<think>a<think>yes</think>b</think> No", "No"),
        ("<think>I am to use <think> first.</think>No", "No"),
        ("<think>yes</think>No<think>really?</think>.", "No."),
        ("<THINK>yes</THINK>No", "No"),
        ("[THINK]yes[/THINK]No", "No"),
        ("◁think▷yes◁/think▷No", "No"),
        ("<think></think>No", "No"),
        ("<|channel|>analysis<|message|>I think yes<|end|><|start|>assistant<|channel|>final<|message|>No", "No"),
        ("<|channel|>analysis<|message|>I think yes", None),
        ("<think>yes</think><answer>No</answer>", "No"),
        ("<|begin_of_box|>No<|end_of_box|>", "No"),
        ("<think>a</think> Yes, I see: the answer is <|begin_of_box|>No<|end_of_box|>.", "No"),
        ("<think>a</think> Yes? <answer>Maybe</answer> Hm. <answer> No", "No"),
        ("<think>a</think> No <answer></answer>", "No"),
        ("<think>a</think> No</answer>", "No"),
        ("<SUMMARY>I think yes.</SUMMARY><REASONING>yes</REASONING><CONCLUSION>No</CONCLUSION>", "No"),
        ("<|channel>thought\nyes<channel|>No", "No"),
        ("<unused94>thought\nyes<unused95>No", "No"),
        ("<|channel|>analysis<|message|>think: yes<|end|><|start|>assistant<|channel|>final<|message|>No", "No"),
        ("<think>yes", None),
        ("<think>yes</think>No<think>wait", None),
        ("<think>yes [/THINK] no", None),
        ("<think>yes</think>", None),
        ("<think>yes</think> \n", None),
    ],
)
def test_what_is_answered(reply: str, answer: str | None) -> None:
    assert read(reply).answer == answer
    assert read(reply).reasoned is ("box" not in reply or "hink" in reply.lower())


@pytest.mark.parametrize("reply", ["", " Yes. ", "a < b > c", "I think so.", "</s>", "Yes.<|end|>"])
def test_a_reply_without_a_block_stays_as_it_is(reply: str) -> None:
    assert read(reply) == ParsedReply(reply)


def test_further_markers_are_a_setting() -> None:
    known = markers(["<CAPTION> </CAPTION>"])
    assert read("<CAPTION>yes</CAPTION>No", known) == ParsedReply("No", reasoned=True)
    assert read("<think>yes</think>No", known).answer == "No"
    assert read("<CAPTION>yes</CAPTION>No").answer == "<CAPTION>yes</CAPTION>No"
    with pytest.raises(UsageError, match="OPEN CLOSE"):
        markers(["<CAPTION>"])


def test_every_mark_is_left_in_a_reply_to_be_read() -> None:
    left = marks(markers(["<a> </a>"]))
    assert {"<a>", "</a>", "<think>", "<channel|>", "<|begin_of_box|>", "<|END_RESPONSE|>"} <= set(left)


def test_where_the_prompt_opens_blocks_a_reply_that_closes_none_is_no_answer() -> None:
    said = read_all(["It is there, yes", "No: </think> No", None, "<think>a</think>Yes"])
    assert [one and one.answer for one in said] == [None, "No", None, "Yes"]
    assert [one and one.answer for one in read_all(["yes", "<think>a</think>No"])] == ["yes", "No"]


def test_a_prompt_that_opens_a_block() -> None:
    assert opening("USER: hi\nASSISTANT: <think>\n", MARKERS) == "<think>"
    assert opening("ASSISTANT: <think>\n\n</think>\n\n", MARKERS) == ""
