"""Algorithm 1, step by step: masks, cuts, what stands before a tail, and where a tail ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import partial
from itertools import islice
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from mmpref.errors import UsageError
from mmpref.sampling import bdhs
from mmpref.sampling.bdhs import BdhsSampler, BdhsSettings
from mmpref.sampling.sentences import Sentence, sentences, split
from mmpref.sampling.similarity import load_similarity
from mmpref.sampling.tails import Cut, TailDecoder, TailStop, TokenizedAnswer, joined
from mmpref.tables.open import open_table
from mmpref.testbed.training.build import IMAGE_TOKENS
from mmpref.types import Example, ImageData, Message, ModelRef
from mmpref.vlm.branches import Branch
from mmpref.vlm.load import load_policy
from mmpref.vlm.policy import Policy
from mmpref.vlm.shared_prefix_pool import SharedPrefixPool

SETTINGS = BdhsSettings(similarity_model="pkg:mmpref.testbed/embedder", max_tail_tokens=24, max_answer_tokens=40)


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load_policy(ModelRef("pkg:mmpref.testbed/model"))


@pytest.fixture(scope="module")
def example() -> Example:
    rows = (row for row in open_table("testbed") if len(split(row["completion"][0]["content"])) > 2)
    row = next(islice(rows, 1))
    images = tuple(ImageData(image["bytes"] if isinstance(image, dict) else image) for image in row["images"])
    prompt = tuple(Message(turn["role"], turn["content"]) for turn in row["prompt"])
    return Example(row["id"], images, prompt, row["completion"][0]["content"], row["id"])


def sampler_of(policy: Policy, **changes: Any) -> BdhsSampler:
    settings = BdhsSettings(**{**SETTINGS.__dict__, **changes})
    return BdhsSampler(policy, load_similarity(SETTINGS.similarity_model), settings, seed=0)


@pytest.mark.parametrize("rho_th", [0.0, 0.5, 0.9, 1.0])
def test_every_try_draws_a_mask_that_keeps_its_share(policy: Policy, example: Example, rho_th: float) -> None:
    sampler = sampler_of(policy, rho_th=rho_th, iterations=60)
    (job,) = sampler._jobs([example])
    assert job.prompt is not None
    places = [tuple(sampler._shown_prompt(job, attempt).order.tolist()) for attempt in range(1, 61)]
    kept = [len(place) - (len(job.prompt.embeds) - job.prompt.image_tokens) for place in places]
    assert np.mean(kept) / IMAGE_TOKENS == pytest.approx(1 - rho_th, abs=0.04)
    assert len(set(places)) == (1 if rho_th in (0.0, 1.0) else len(places))


def test_every_try_cuts_anew_at_any_token_of_the_sentence(policy: Policy, example: Example) -> None:
    sampler = sampler_of(policy)
    (job,) = sampler._jobs([example])
    for number, (sentence, _) in enumerate(job.sentences):
        heads = Counter()
        for job.attempt in range(1, 401):
            heads[sampler._cut(job, number).head] += 1
        words = sentence.strip().rstrip(".").split(" ")
        # From nothing kept to all but the full stop, each about as often.
        assert {head.strip() for head in heads} == {" ".join(words[:size]) for size in range(len(words) + 1)}
        assert min(heads.values()) > 400 / len(heads) / 3


def test_a_tail_follows_the_reference_whole_up_to_the_cut(policy: Policy, example: Example) -> None:
    sampler = sampler_of(policy, iterations=20)
    (job,) = sampler._jobs([example])
    for attempt in range(1, 20):
        sampler._branches(job, attempt, guided=True)
        for number, cut in enumerate(job.cuts):
            before = "".join(map("".join, job.sentences[:number])) + cut.head
            written = policy.tokenizer.decode(cut.prefix, skip_special_tokens=True)
            assert (
                written.split() == before.replace(".", " .").replace(",", " ,").split()
                or written.strip() == before.strip()
            )
            assert job.sentences[number].body.startswith(cut.head)


@pytest.mark.parametrize("word", ["red", "Yes", "no"])
def test_a_one_word_answer_is_guessed_anew_or_swapped(policy: Policy, example: Example, word: str) -> None:
    sampler = sampler_of(policy, iterations=1)
    short = Example("short", example.images, example.prompt, word, "short")
    (job,) = sampler._jobs([short])
    heads = set()
    for job.attempt in range(1, 41):
        heads.add(sampler._cut(job, 0).head)
    assert heads == ({""} if word == "red" else {"", {"Yes": "No", "no": "yes"}[word]})


def letters() -> PreTrainedTokenizerFast:
    """One token a character, and a few that hold a full stop with what follows it."""
    pieces = ["<unk>", '."', ".)", ".\n\n", *map(chr, range(32, 127)), "\n", "。", "图"]
    words = Tokenizer(models.WordLevel({piece: number for number, piece in enumerate(pieces)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    words.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>")


def stopped_at(head: str, pieces: list[str]) -> str | None:
    """What a tail keeps when the model writes these pieces, or None where it goes on to the end."""
    tokenizer = letters()
    prefix = tuple(tokenizer.convert_tokens_to_ids(list(head)))
    decoder, cut = TailDecoder(tokenizer), Cut(head, prefix, prefix[-8:], False)
    stop = TailStop(decoder, cut)
    tokens: list[int] = []
    for piece in pieces:
        tokens.append(tokenizer.convert_tokens_to_ids(piece))
        if stop(tokens) is not None:
            return joined(decoder(cut, tokens), cut, Sentence(head, ""))[len(head) :]
    return None


@pytest.mark.parametrize(
    ("head", "written", "kept"),
    [
        ("A cat", " sits. It sleeps.", " sits."),
        ("It is ", "3.5 metres tall. It is old.", "3.5 metres tall."),
        ("There are ", "3. They sleep.", "3."),
        ("Dr", ". Smith runs. He is fast.", ". Smith runs."),
        ("Fruit", ", e.g. apples, is there. It is red.", ", e.g. apples, is there."),
        ("图", "图。图图。", "图。"),
        ("A cat", " sits", None),
        ("A cat", " sits.", None),
        ("A cat", " sits!\nIt", " sits!"),
    ],
)
def test_a_tail_ends_at_the_full_stop_that_closes_its_sentence(head: str, written: str, kept: str | None) -> None:
    assert stopped_at(head, list(written)) == kept


@pytest.mark.parametrize(("head", "mark"), [('He said "', '."'), ("It is red (or ", ".)"), ("He said ", ".\n\n")])
def test_a_full_stop_may_share_its_token_with_what_follows(head: str, mark: str) -> None:
    assert stopped_at(head, [*"stop", mark, *" Then he left."]) == f"stop{mark}".rstrip()


def test_a_cut_may_fall_before_a_word_whose_token_begins_with_the_space(policy: Policy) -> None:
    """As SentencePiece and byte-level tokenizers have it: the first token of a sentence covers the space before."""
    sampler = sampler_of(policy)
    text = "It is red. It is old."
    spans = [(0, 2), (2, 5), (5, 9), (9, 10), (10, 13), (13, 16), (16, 20), (20, 21)]
    written = TokenizedAnswer(text, 0, list(range(8)), spans)
    example = SimpleNamespace(id="x", answer=text)
    job: Any = SimpleNamespace(example=example, sentences=sentences(text), answer=written, attempt=0)
    found = Counter()
    for job.attempt in range(400):
        cut = sampler._cut(job, 1)
        found[cut.head, cut.prefix, cut.fresh] += 1
    assert set(found) == {
        ("", (0, 1, 2, 3), True),
        ("It", (0, 1, 2, 3, 4), False),
        ("It is", (0, 1, 2, 3, 4, 5), False),
        ("It is old", (0, 1, 2, 3, 4, 5, 6), False),
    }
    assert min(found.values()) > 60


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("rho_th", 1.5),
        ("rho_th", -3.0),
        ("top_p", 0.0),
        ("iterations", 0),
        ("max_tail_tokens", 0),
        ("batch_size", 0),
        ("temperature", -1.0),
        ("noise_steps", 1001),
    ],
)
def test_settings_are_checked(setting: str, value: float) -> None:
    with pytest.raises(UsageError, match=setting):
        BdhsSettings(**{setting: value})


def test_a_late_difference_in_a_long_answer_without_a_full_stop_counts() -> None:
    similarity = load_similarity(SETTINGS.similarity_model)
    window = similarity._window or 0
    long = "a cup is at the back and " * window
    (same, other) = similarity([long + "a fork", long + "a fork"], [long + "a fork", long + "a spoon"])
    assert same == pytest.approx(1)
    assert other < same - 1e-6


def test_tries_of_one_example_share_its_image(policy: Policy, example: Example) -> None:
    sampler = sampler_of(policy, similarity_threshold=-2.0)
    calls = []
    tower = policy.base_model.model.vision_tower
    hook = tower.register_forward_hook(lambda *_: calls.append(1))
    try:
        (made,) = sampler([example])
    finally:
        hook.remove()
    assert made.iterations == SETTINGS.iterations
    assert len(calls) == 1


def test_sentences_of_a_try_share_one_prefill(policy: Policy, example: Example) -> None:
    sampler = sampler_of(policy, iterations=1)
    lengths = []
    hook = policy.decoder.register_forward_pre_hook(
        lambda _module, _args, given: lengths.append(given["inputs_embeds"].shape[:2]), with_kwargs=True
    )
    try:
        sampler([example])
    finally:
        hook.remove()
    # The image's own visit to the decoder, one prefill of one row, and then single tokens.
    assert [size for size in lengths if size[1] > 1][1:] == [torch.Size([1, lengths[1][1]])]
    assert max(rows for rows, tokens in lengths if tokens == 1) <= len(split(example.answer))


def test_unguided_answers_are_decoded_apart(policy: Policy, example: Example, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are long, and where nothing is masked see the whole image: a guided pool would be as wide as they are."""
    from mmpref.sampling import bdhs

    pools = []

    def recorded(*arguments: Any) -> Any:
        pools.append((arguments[1].max_new_tokens, pool := SharedPrefixPool(*arguments)))
        return pool

    monkeypatch.setattr(bdhs, "decoding_pool", recorded)
    sampler_of(policy, iterations=3, similarity_threshold=-2.0)([example])
    assert [limit for limit, _ in pools] == [SETTINGS.max_tail_tokens, SETTINGS.max_answer_tokens]
    assert pools[0][1]._added == 2 * len(split(example.answer))
    assert pools[1][1]._added == 1


class ReferencePool:
    """Stands in for a model that continues the reference word for word, or never comes to an end."""

    def __init__(self, references: list[list[int]], eos: int, endless: int | None = None, limit: int = 0) -> None:
        self.references, self.eos, self.endless, self.limit = references, eos, endless, limit
        self.branches: list[tuple[int, Branch]] = []
        self.added = 0
        self.has_free_rows = True

    @property
    def finished(self) -> bool:
        return not self.branches

    def add(self, branches: list[Branch]) -> range:
        numbers = range(self.added, self.added + len(branches))
        self.branches += zip(numbers, branches, strict=True)
        self.added += len(branches)
        return numbers

    def __iter__(self) -> Iterator[tuple[int, list[int]]]:
        while self.branches:
            number, branch = self.branches.pop(0)
            yield number, self.written(branch)

    def written(self, branch: Branch) -> list[int]:
        if self.endless is not None:
            return [self.endless] * self.limit
        (reference,) = (ids for ids in self.references if tuple(ids[: len(branch.prefix)]) == branch.prefix)
        tail: list[int] = []
        for token in reference[len(branch.prefix) :]:
            if token == self.eos:
                break
            tail.append(token)
            assert branch.stop is not None
            if branch.stop(tail) is not None:
                break
        return tail


def test_a_model_that_continues_the_reference_gives_it_back(
    policy: Policy, example: Example, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampler = sampler_of(policy, iterations=1)
    (job,) = sampler._jobs([example])
    (eos,) = policy.eos_ids
    monkeypatch.setattr(bdhs, "decoding_pool", lambda *_: ReferencePool([list(job.answer.ids)], eos))
    for seed in range(20):
        sampler.seed = seed
        (made,) = sampler([example])
        assert made.answer == example.answer
        assert made.similarity == pytest.approx(1)
        assert not made.cut_off


def test_tails_that_a_bound_cuts_off_are_told(
    policy: Policy, example: Example, monkeypatch: pytest.MonkeyPatch
) -> None:
    (word,) = policy.tokenizer(" yellow", add_special_tokens=False)["input_ids"]
    pool = partial(ReferencePool, [], 0, word)
    monkeypatch.setattr(bdhs, "decoding_pool", lambda _policy, decoding, _width: pool(decoding.max_new_tokens))
    (made,) = sampler_of(policy, iterations=3)([example])
    assert made.cut_off
    assert made.cut_tries == 3  # two of tails, and an unguided answer
    (made,) = sampler_of(policy, iterations=3, keep_cut_off=True)([example])
    assert made.iterations == made.cut_tries == 1
