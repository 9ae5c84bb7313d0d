"""The mean KL of an adapter from its base, against a loop that knows nothing of batches, encodings or adapters."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from mmpref.registry import resolve_path
from mmpref.sampling.kl import mean_kl
from mmpref.types import Message, ModelRef
from mmpref.vlm.decoding import Decoding
from mmpref.vlm.generate import Request, generate
from mmpref.vlm.load import load_policy
from mmpref.vlm.policy import Policy
from tests.bench.conftest import MODEL

WORDS = ("Describe the image.", "Is there a ring in the image?", "What is in the top left?")
LIMIT = 12


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    """The testbed's model with a LoRA adapter that moves it a little, and a projector of its own."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForImageTextToText

    base = AutoModelForImageTextToText.from_pretrained(resolve_path(MODEL), dtype=torch.float32)
    projector = next(name for name, _ in base.named_modules() if name.endswith("multi_modal_projector"))
    targets = r"model\.language_model\..*\.(?:q|v)_proj"
    config = LoraConfig(r=4, lora_alpha=8, target_modules=targets, modules_to_save=[projector.rpartition(".")[2]])
    torch.manual_seed(0)
    model = get_peft_model(base, config)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.5)
        elif "modules_to_save" in name and name.endswith("weight"):
            with torch.no_grad():
                parameter.mul_(1.1)
    folder = tmp_path_factory.mktemp("adapter")
    model.save_pretrained(str(folder))
    return load_policy(ModelRef(MODEL, adapter=str(folder)))


@pytest.fixture(scope="module")
def requests() -> list[Request]:
    return [
        Request((Message("user", text),), (Image.new("RGB", (96, 96), colour),))
        for text in WORDS
        for colour in ("red", "white")
    ]


def _naive(policy: Policy, requests: list[Request]) -> tuple[float, int]:
    """Whole sequences one by one through the model's own forward, with and without its adapter."""
    total, count = 0.0, 0
    answers = generate(policy, requests, Decoding(LIMIT), batch_size=1)
    for request, answer in zip(requests, answers, strict=True):
        inputs = policy.prompter.prepare(request.messages, request.images)
        ids = policy.tokenizer(answer, add_special_tokens=False, return_tensors="pt")["input_ids"]
        text = torch.cat([inputs["input_ids"], ids], 1)
        inputs = {**inputs, "input_ids": text, "attention_mask": torch.ones_like(text)}
        last = text.shape[1] - ids.shape[1] - 1
        predicts = slice(last, last + min(ids.shape[1] + 1, LIMIT))  # the end of an answer is predicted too
        with torch.no_grad():
            own = policy.model(**inputs).logits[0, predicts].double().log_softmax(-1)
            with policy.without_adapter():
                base = policy.model(**inputs).logits[0, predicts].double().log_softmax(-1)
        for p, q in zip(own, base, strict=True):
            total += sum(float(a.exp() * (a - b)) for a, b in zip(p, q, strict=True))
            count += 1
    return total / count, count


def test_it_is_what_a_naive_loop_gives(policy: Policy, requests: list[Request]) -> None:
    value, tokens = _naive(policy, requests)
    found = mean_kl(policy, requests, LIMIT, batch_size=4)
    assert value > 0.01, "an adapter that changes nothing tests nothing"
    assert (found.tokens, found.value) == (tokens, pytest.approx(value, rel=1e-4))


def test_it_does_not_depend_on_the_batch(policy: Policy, requests: list[Request]) -> None:
    one, all_ = (mean_kl(policy, requests, LIMIT, batch_size=size).value for size in (1, len(requests)))
    assert one == pytest.approx(all_, rel=1e-4)


def test_a_base_is_not_away_from_itself(policy: Policy, requests: list[Request]) -> None:
    with policy.without_adapter():
        assert mean_kl(policy, requests[:2], LIMIT).value == pytest.approx(0.0, abs=1e-9)
