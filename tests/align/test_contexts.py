"""Pairs that continue a context: trained is what a model says of them when it has written the rest."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pyarrow.parquet as pq
import pytest
import torch
from trl import DPOConfig, DPOTrainer
from trl.data_utils import prepare_multimodal_messages

from mmpref.align.collator import PreferenceCollator
from mmpref.align.preference_data import collect_pairs
from mmpref.align.recipe import LoraSettings, TrainRecipe
from mmpref.align.train import train
from mmpref.errors import InputError, ModelError
from mmpref.hub.cards.snippets import WRITTEN_OUT
from mmpref.sampling.logprobs import log_probs, own_tokens
from mmpref.tables.open import open_table
from mmpref.types import Message, ModelRef, messages, text_of
from mmpref.vlm.answer_tokens import tokens_behind
from mmpref.vlm.encode import encode
from mmpref.vlm.load import load_policy
from mmpref.vlm.policy import Policy
from tests.vlm.tiny import BUILDERS, tiny

from .conftest import MODEL


def rows(data: Path, folder: Path) -> list[dict[str, Any]]:
    pairs = collect_pairs([open_table(str(data))], folder, image_token="<image>")
    return [pairs.dataset[number] for number in range(len(pairs.dataset))]


def naive_log_prob(policy: Policy, row: dict[str, Any], answer: str, ends: bool) -> float:
    """Of a continuation: one forward of the whole conversation as the model would have written it, which is one text,
    tokenised once; summed over the tokens behind the context."""
    prompt, text = messages(row["prompt"]), text_of(row[answer])
    before = prompt[:-1] if prompt[-1].role == "assistant" else prompt
    context = prompt[-1].content if before != prompt else ""
    whole = policy.render((*before, Message("assistant", context + text)), len(row["images"]), generation=False)
    inputs = policy.processor(text=[whole], images=[row["images"]], return_tensors="pt", add_special_tokens=False)
    with torch.no_grad():
        logits = policy.base_model(**inputs, use_cache=False).logits[0].log_softmax(-1)
    ids = inputs["input_ids"][0]
    end = whole.rindex(text) + len(text)
    start = len(whole[: end - len(text)].rstrip())  # the space before a word is of its token
    spans = policy.tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    images = len(ids) - len(spans)  # tokens that stand for the image, beyond its placeholder
    places = [images + number for number, (begin, _) in enumerate(spans) if begin >= start and (ends or begin < end)]
    return sum(float(logits[place - 1, ids[place]]) for place in places)


def summed(policy: Policy, batch: dict[str, Any]) -> list[float]:
    """Log-probabilities of a batch's answers, chosen before rejected, by one plain forward."""
    inputs = {name: value for name, value in batch.items() if name != "completion_mask"}
    with torch.no_grad():
        logits = policy.base_model(**inputs, use_cache=False).logits[:, :-1].log_softmax(-1)
    taken = logits.gather(-1, batch["input_ids"][:, 1:, None])[..., 0]
    sums: list[float] = (taken * batch["completion_mask"][:, 1:]).sum(1).tolist()
    return sums


@pytest.mark.parametrize("ends", [True, False])
def test_a_continuation_is_scored_as_a_naive_forward_scores_it(contexts: Path, tmp_path: Path, ends: bool) -> None:
    policy, given = load_policy(ModelRef(MODEL)), rows(contexts, tmp_path)
    batch = PreferenceCollator(policy.processor, ends=ends)([dict(row) for row in given[:6]])
    expected = [naive_log_prob(policy, row, name, ends) for name in ("chosen", "rejected") for row in given[:6]]
    assert summed(policy, batch) == pytest.approx(expected, rel=1e-4)
    if not ends:  # as the engine says of the answer alone
        prompts = [messages(row["prompt"]) for row in given[:6]]
        encoded = encode(
            policy, [policy.prompter.prepare(p, row["images"]) for p, row in zip(prompts, given[:6], strict=True)]
        )
        tokens = [
            own_tokens(policy, p, 1, text_of(row["chosen"]))[0] for p, row in zip(prompts, given[:6], strict=True)
        ]
        assert [score.total for score in log_probs(policy, encoded, tokens)] == pytest.approx(
            expected[: len(tokens)], rel=1e-4
        )


@pytest.mark.parametrize("name", sorted(set(BUILDERS) - {"paligemma", "paligemma2"}))
def test_every_family_writes_context_and_continuation_as_one_answer(name: str) -> None:
    policy = tiny(name)
    asked, context, more = Message("user", "describe the picture ."), "w1 w2 w3 .", " w4 w5 ."
    prompt = (asked, Message("assistant", context))
    opening, rest = policy.render(prompt, 1), policy.render_answer(prompt, 1, more)
    whole = policy.render((asked, Message("assistant", context + more)), 1, generation=False)
    assert opening + rest == whole
    assert opening.endswith(context)
    assert rest.startswith(more)


def test_a_model_that_reads_prompts_both_ways_refuses_contexts() -> None:
    with pytest.raises(ModelError, match="both ways"):
        tiny("paligemma").render((Message("user", "w1"), Message("assistant", "w2")), 1)


def test_tokenizers_that_write_a_space_themselves_write_none_amid_an_answer() -> None:
    """As LLaVA-1.5's: the tokens of context and continuation are those of the whole."""
    policy = tiny("llava")
    policy.processor.tokenizer = policy.tokenizer = sentencepiece()
    prompt = (Message("user", "w1"), Message("assistant", "w2 w3."))
    for more in (" w4 w5.", "\n\nw4.", "w4"):
        opening, rest = policy.render(prompt, 0), policy.render_answer(prompt, 0, more)
        whole = policy.tokenizer(opening + rest, add_special_tokens=False)["input_ids"]
        apart = policy.tokenizer(opening, add_special_tokens=False)["input_ids"]
        assert [*apart, *tokens_behind(policy.tokenizer, opening, rest).ids] == whole, more


def sentencepiece() -> Any:
    """A tokenizer of characters that begins every text with a space, as LLaMA's does."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = "▁\n.:<>/ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789,'-"
    vocabulary = {letter: number + 4 for number, letter in enumerate(letters)}
    tokenizer = Tokenizer(
        models.BPE(vocab={"<s>": 0, "</s>": 1, "<unk>": 2, "<image>": 3, **vocabulary}, merges=[], unk_token="<unk>")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="first")
    made = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="</s>"
    )
    made.add_special_tokens({"additional_special_tokens": ["<image>"]})
    return made


def test_c_dpo_trains_down_from_log_two_and_counts_no_ends(contexts: Path, tmp_path: Path) -> None:
    trainer = {
        "learning_rate": 1e-3,
        "max_steps": 3,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 1,
    }
    recipe = TrainRecipe(MODEL, (str(contexts),), "c-dpo", lora=LoraSettings(4, 8), trainer=trainer)
    lengths = []
    for ends in (False, True):
        folder = tmp_path / str(ends)
        manifest = train(replace(recipe, loss={"ends": ends}), folder)
        log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
        losses = [row["loss"] for row in log if "loss" in row]
        assert losses[0] == pytest.approx(math.log(2), rel=1e-4)
        assert losses[-1] < losses[0]
        assert manifest["prompt_shared"], "image, prompt and context are run once for both"
        lengths.append(log[0]["lengths/chosen"])
    assert lengths[1] == lengths[0] + 1


def test_c_dpo_wants_contexts(preferences: Path, tmp_path: Path) -> None:
    recipe = TrainRecipe(MODEL, (str(preferences),), "c-dpo")
    with pytest.raises(InputError, match=r"No answer of .* continues a context"):
        train(recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_methods_that_write_answers_leave_contexts_out(contexts: Path, tmp_path: Path) -> None:
    trainer = {
        "learning_rate": 1e-3,
        "max_steps": 2,
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 1,
    }
    recipe = TrainRecipe(MODEL, (str(contexts),), "mixed-dpo", lora=LoraSettings(2, 4), trainer=trainer)
    recipe = replace(recipe, annotator="testbed-oracle", loss={"offline": 1.0}, limit=6)
    assert train(recipe, tmp_path / "some")["counts"]["skipped"] == {"context": 4}
    only = tmp_path / "only.parquet"
    pq.write_table(pq.read_table(contexts).slice(1, 2), only)
    with pytest.raises(InputError, match="the answers continue one, and this method is for whole answers"):
        train(replace(recipe, dataset=(str(only),)), tmp_path / "none")


def test_trls_own_trainer_takes_such_rows_and_written_out_ones_as_they_are(contexts: Path, tmp_path: Path) -> None:
    """From messages TRL ends the context's turn and begins another, which both answers have in common; from rows that
    the card's code has written out it trains on what we do."""
    args = DPOConfig(
        str(tmp_path),
        bf16=False,
        gradient_checkpointing=False,
        max_length=None,
        max_steps=1,
        per_device_train_batch_size=2,
        report_to="none",
        save_strategy="no",
    )
    policy = load_policy(ModelRef(MODEL))
    data = datasets.load_dataset("parquet", data_files=str(contexts), split="train").select(range(1, 3))
    names = {"processor": policy.processor, "prepare_multimodal_messages": prepare_multimodal_messages}
    exec(WRITTEN_OUT, names)
    ours = PreferenceCollator(policy.processor)(rows(contexts, tmp_path)[1:3])
    expected = summed(policy, ours)
    for given, same in ((data.map(names["written_out"]), True), (data, False)):
        trainer = DPOTrainer(policy.model, args=args, train_dataset=given, processing_class=policy.processor)
        batch = trainer.data_collator([trainer.train_dataset[number] for number in range(2)])
        texts = policy.tokenizer.batch_decode(batch["input_ids"][batch["completion_mask"].bool()][None])
        assert (texts[0].count("ASSISTANT:") == 0) == same
        assert (batch["input_ids"].tolist() == ours["input_ids"].tolist()) == same
        assert (summed(policy, batch) == pytest.approx(expected, rel=1e-4)) == same
        trainer.train()
        assert trainer.state.global_step == 1
