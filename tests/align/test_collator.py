"""Batches of pairs: a prompt is what the model has before it when it writes."""

from __future__ import annotations

import torch
from PIL import Image

from mmpref.align.collator import PreferenceCollator
from mmpref.types import Message
from tests.vlm.tiny import tiny

from .test_contexts import sentencepiece

# As LLaVA-OneVision's: white space behind "assistant" differs, and TRL keeps of a prompt what answers share with it.
TEMPLATE = (
    "{% for turn in messages %}{{ turn.role + ' ' }}{% for part in turn.content %}"
    "{{ '<image>' if part.type == 'image' else '\n' + part.text }}{% endfor %}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant\n' }}{% endif %}"
)


def test_answers_are_trained_behind_the_generation_prompt() -> None:
    policy = tiny("llava")
    policy.processor.tokenizer = policy.tokenizer = sentencepiece()
    policy.processor.image_token_id = policy.tokenizer.convert_tokens_to_ids("<image>")
    policy.processor.chat_template = TEMPLATE
    question, picture = Message("user", "Q"), Image.new("RGB", (16, 16))
    row = {
        "images": [picture],
        "prompt": [{"role": "user", "content": question.content}],
        "chosen": [{"role": "assistant", "content": "A1"}],
        "rejected": [{"role": "assistant", "content": "A22"}],
    }
    batch = PreferenceCollator(policy.processor)([row])
    [asked] = policy.prompter.prepare((question,), [picture])["input_ids"]
    for ids, answer, kept in zip(batch["input_ids"], batch["completion_mask"].bool(), ("A1", "A22"), strict=True):
        opening = policy.render((question,), 1)
        alone, whole = policy.tokenizer([opening, f"{opening}{kept}</s>"], add_special_tokens=False)["input_ids"]
        assert torch.equal(ids[: len(asked)], asked)
        assert ids[answer].tolist() == whole[len(alone) :]
