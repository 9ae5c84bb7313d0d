"""An answer's tokens are those that it has behind its prompt, however the tokenizer begins a text."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from PIL import Image
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import LlamaTokenizer, PreTrainedTokenizerFast

from mmpref.align.collator import PreferenceCollator
from mmpref.align.preference_data import ROW
from mmpref.align.weights import TOKEN_WEIGHTS
from mmpref.sampling.logprobs import answer_tokens
from mmpref.types import Message
from mmpref.vlm.answer_tokens import tokens_behind
from mmpref.vlm.chat_template import set_prompt_format
from tests.vlm.tiny import tiny

from .test_chat_template import SHIPPED

TEXTS = [
    "A chat between a user and an assistant. USER: Q ASSISTANT: A cat sits on a mat.",
    "A dog.  Two cups, there.",
] * 50
SPECIAL = ["<unk>", "<s>", "</s>", "<image>"]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def learned() -> Tokenizer:
    """Pieces of words that carry the space before them."""
    made = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=True)
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    made.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=400, special_tokens=[*SPECIAL, *BYTES]))
    return made


def fast(tokenizer: Tokenizer) -> Any:
    names = dict(zip(("unk_token", "bos_token", "eos_token"), SPECIAL, strict=False))
    made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="</s>", **names)
    made.add_special_tokens({"additional_special_tokens": ["<image>"]})
    return made


def prepend() -> Any:
    """As tokenizer.json of LLaVA-1.5 and LLaVA-1.6 has it, where it is read as it is."""
    made = learned()
    made.pre_tokenizer = None
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    return fast(made)


def metaspace(scheme: str) -> Any:
    made = learned()
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
    return fast(made)


def llama(legacy: bool) -> Any:
    """As transformers itself makes LLaMA's of a vocabulary."""
    of = json.loads(learned().to_str())["model"]
    merges = [tuple(merge) for merge in of["merges"]]
    extra = {"pad_token": "</s>", "additional_special_tokens": ["<image>"]}
    return LlamaTokenizer(vocab=of["vocab"], merges=merges, legacy=legacy, **extra)


def byte_level(add_prefix_space: bool) -> Any:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        TEXTS, trainers.BpeTrainer(vocab_size=400, special_tokens=SPECIAL, initial_alphabet=alphabet)
    )
    return fast(made)


KINDS: dict[str, Callable[[], Any]] = {
    "prepend": prepend,
    **{f"metaspace {scheme}": partial(metaspace, scheme) for scheme in ("always", "first", "never")},
    **{f"llama, legacy {legacy}": partial(llama, legacy) for legacy in (True, False)},
    "bytes": partial(byte_level, False),
    "bytes, prefix space": partial(byte_level, True),
}
OPENINGS = {
    "Vicuna": ("<s>A chat. USER: <image>\nQ ASSISTANT:", " "),
    "a line": ("<s>user\n<image>Q</s>assistant\n", ""),
    "a mark": ("<s>[INST] <image>\nQ [/INST]", ""),
    "a special token": ("<s>user <image>Q</s>", ""),
    "a special token and a space": ("<s>user <image>Q</s>", " "),
}


@pytest.fixture(scope="module", params=KINDS)
def tokenizer(request: pytest.FixtureRequest) -> Any:
    return KINDS[request.param]()


def ids_of(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


@pytest.mark.parametrize("opening", OPENINGS)
@pytest.mark.parametrize("answer", ["A cat sits.", "\nA dog.  Two.", "…", "mat"])
def test_prompt_and_answer_are_the_tokens_of_the_whole(tokenizer: Any, opening: str, answer: str) -> None:
    before, glue = OPENINGS[opening]
    text = f"{glue}{answer}</s>"
    ids, spans = tokens_behind(tokenizer, before, text)
    if not (answer[0] == "\n" == before[-1] and not glue):  # two lines may be one token of the whole
        assert [*ids_of(tokenizer, before), *ids] == ids_of(tokenizer, before + text)
    assert text[slice(*spans[-1])] == "</s>"
    for token, (begin, end) in zip(ids[:-1], spans[:-1], strict=True):
        piece = tokenizer.decode([token]).strip()
        assert piece in text[begin:end] or "�" in piece


@pytest.mark.parametrize("opening", OPENINGS)
def test_only_the_end_of_a_long_prompt_is_tokenised_with_an_answer(tokenizer: Any, opening: str) -> None:
    """Wherever it is cut: amid a word, a letter of several bytes, or the image's token."""
    before, glue = OPENINGS[opening]
    seen: list[str] = []

    def recorded(text: str, **options: Any) -> Any:
        seen.append(text)
        return tokenizer(text, **options)

    text = f"{glue}A cat sits.</s>"
    for length in range(8):
        long = "<s>" + "Two dögs, there. " * 40 + before[3:] + "." * length
        whole = tokenizer(long + text, add_special_tokens=False)["input_ids"]
        ids = tokens_behind(recorded, long, text).ids
        assert [*ids_of(tokenizer, long), *ids] == whole
    assert max(map(len, seen)) < 300


def test_a_space_that_the_prompt_ends_in_is_not_written_again(tokenizer: Any) -> None:
    """Of prompt and answer a token of the whole would be both: the model goes on behind the prompt's own."""
    ids = tokens_behind(tokenizer, "<s>Q ASSISTANT: ", "A cat</s>").ids
    assert tokenizer.decode([*ids_of(tokenizer, ": "), *ids]).strip() == ": A cat</s>"


def test_training_and_scoring_have_the_tokens_of_the_whole(tokenizer: Any) -> None:
    """Through the real collator, in LLaVA's own format, weights of words along."""
    policy = tiny("llava")
    processor = policy.processor
    processor.tokenizer = policy.tokenizer = tokenizer
    processor.image_token, processor.chat_template = "<image>", SHIPPED
    processor.image_token_id = tokenizer.convert_tokens_to_ids("<image>")
    set_prompt_format(processor, {tokenizer.eos_token_id}, True, "tiny")
    turn, picture, weighed = Message("user", "Q"), Image.new("RGB", (16, 16)), [{"begin": 2, "end": 5, "weight": 3.0}]
    row = {
        "images": [picture],
        "prompt": [{"role": "user", "content": turn.content}],
        "chosen": [{"role": "assistant", "content": "A cat sits."}],
        "rejected": [{"role": "assistant", "content": "A dog."}],
        "chosen_weights": weighed,
        ROW: 0,
    }
    batch = PreferenceCollator(processor)([row])
    opening = policy.render((turn,), 1)
    for number, said in enumerate(("A cat sits.", "A dog.")):
        whole = policy.render((turn, Message("assistant", said)), 1, generation=False)
        assert whole == f"{opening} {said}</s>"
        answer = ids_of(tokenizer, whole)[len(ids_of(tokenizer, opening)) :]
        assert batch["input_ids"][number][batch["completion_mask"][number].bool()].tolist() == answer
        assert answer_tokens(policy, (turn,), 1, said) == answer
    answer = batch["input_ids"][0][batch["completion_mask"][0].bool()].tolist()
    weights = batch[TOKEN_WEIGHTS][0].tolist()
    heavy = [token for token, weight in zip(answer, weights, strict=True) if weight == 3]
    assert tokenizer.decode(heavy).strip() == "cat"
