"""Tokenizers of the two kinds that models have, trained in a moment: byte-level BPE, and BPE with byte fallback."""

from __future__ import annotations

import json
from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast


def byte_level(texts: Iterable[str], size: int = 600) -> PreTrainedTokenizerFast:
    """As Qwen's, Llama 3's and SmolVLM's: a token may hold a part of a character."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=["</s>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    bpe.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="</s>")


def byte_fallback(texts: Iterable[str], size: int = 400) -> PreTrainedTokenizerFast:
    """As Llama 2's, Vicuna's and Gemma's: a character that the vocabulary lacks is a token for each of its bytes."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    latin = [text.replace(" ", "▁").replace("\n", "") for text in texts if text.isascii()]
    trained.train_from_iterator(latin, trainers.BpeTrainer(vocab_size=size))
    learned = json.loads(trained.to_str())["model"]
    pieces = ["<unk>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *learned["vocab"]]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    merges = [tuple(merge) for merge in learned["merges"]]
    bpe = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    bpe.normalizer = normalizers.Replace(" ", "▁")
    bpe.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="</s>", unk_token="<unk>")
