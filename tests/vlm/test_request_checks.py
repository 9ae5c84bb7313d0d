"""Which requests a model can be asked."""

from __future__ import annotations

import copy

import pytest
from PIL import Image

from mmpref.errors import ChatTemplateError, ImageError, InputError
from mmpref.types import Message
from mmpref.vlm.decoding import Decoding
from mmpref.vlm.generate import Request, generate
from mmpref.vlm.preprocess import PromptPreprocessor
from mmpref.vlm.request_checks import prepare_batch
from tests.vlm.tiny import tiny


def test_a_bad_request_costs_itself_and_no_other() -> None:
    policy = tiny("qwen2_vl")
    red, strip = Image.new("RGB", (60, 60), "red"), Image.new("RGB", (400, 1), "red")
    asked = ["What?", "What?", "Is it <|image_pad|>?", "What is it?"]
    requests = [
        Request((Message("user", text),), (strip if number == 1 else red,)) for number, text in enumerate(asked)
    ]
    batch, refused = prepare_batch(policy, requests, [f"row {number}" for number in range(4)])
    assert [type(why) for why in refused] == [type(None), ImageError, InputError, type(None)]
    assert "row 2 holds '<|image_pad|>'" in str(refused[2])
    decoding = Decoding(4)
    written = batch.generate(decoding)
    assert [answer.text for answer in written] == generate(policy, [requests[0], requests[3]], decoding)
    assert all(answer.cut == (len(answer.text.split()) >= 4) for answer in written)


def test_turns_that_the_chat_template_refuses_are_a_text_that_cannot_be_asked() -> None:
    policy = copy.copy(tiny("llava"))
    policy.prompter = PromptPreprocessor(copy.copy(policy.processor))
    policy.prompter.processor.chat_template = (
        "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported.') }}{% endif %}"
        + policy.processor.chat_template
    )
    image, user = Image.new("RGB", (60, 60)), Message("user", "What?")
    requests = [Request((user,), (image,)), Request((Message("system", "Be brief."), user), (image,))]
    batch, [accepted, refused] = prepare_batch(policy, requests, ["row 0", "row 1"])
    assert accepted is None
    assert isinstance(refused, ChatTemplateError)
    assert str(refused) == "row 1: the model's chat template refuses it: System role not supported."
    assert len(batch.generate(Decoding(2))) == 1


def test_an_error_of_all_rows_is_no_rows_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = tiny("llava")
    requests = [Request((Message("user", "What?"),), (Image.new("RGB", (60, 60)),))] * 2
    monkeypatch.setattr(policy.tokenizer, "convert_ids_to_tokens", lambda _: None)
    monkeypatch.setattr("mmpref.vlm.request_checks.PromptBatch", _broken)
    with pytest.raises(ValueError, match="of all"):
        prepare_batch(policy, requests, ["row 0", "row 1"])


def _broken(*_: object) -> None:
    raise ValueError("a defect of all")
