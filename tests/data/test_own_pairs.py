"""The methods whose answers, chosen and rejected, are the model's own: each picks what its first line says."""

from __future__ import annotations

import itertools
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from mmpref.cli.main import program
from mmpref.data.blocks import check_rejected
from mmpref.data.build import build_dataset, spelled_out
from mmpref.data.builder import BUILDERS, Context
from mmpref.data.recipe import BuildRecipe
from mmpref.data.sources import Source
from mmpref.errors import RunError, UsageError
from mmpref.judges.rewriter import Rewriting
from mmpref.registry import resolve_path
from mmpref.sampling.answers import generate_answers, sample_answers
from mmpref.sampling.bdhs import BdhsSampler
from mmpref.sampling.logprobs import answer_logits, log_probs, own_tokens
from mmpref.sampling.resample import Draft, resample_sentences
from mmpref.sampling.sentences import sentences, split
from mmpref.sampling.similarity import load_similarity
from mmpref.tables.open import open_table
from mmpref.testbed import oracle
from mmpref.testbed.judges.testbed_oracle import JUDGE
from mmpref.types import Example, ModelRef, Pair, Skip
from mmpref.vlm.decoding import Decoding
from mmpref.vlm.encode import encode
from mmpref.vlm.load import load_policy
from mmpref.vlm.policy import Policy
from tests.data.own_pairs import CAPTIONS, EMBEDDER, MODEL, ROWS, SETTINGS, worker_of


@pytest.fixture(scope="module")
def aligned(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    """The model with an adapter that changes it."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForImageTextToText

    base = AutoModelForImageTextToText.from_pretrained(resolve_path(MODEL))
    config = LoraConfig(r=2, target_modules=r"model\.language_model\..*\.q_proj", init_lora_weights=False)
    folder = tmp_path_factory.mktemp("adapter")
    torch.manual_seed(0)
    get_peft_model(base, config).save_pretrained(str(folder))
    return load_policy(ModelRef(MODEL, adapter=str(folder)))


def texts(outcomes: list[Pair | Skip]) -> list[tuple[str, str, str]]:
    return [
        (one.example.id, one.chosen, one.rejected) if isinstance(one, Pair) else (one.id, one.reason, "")
        for one in outcomes
    ]


@pytest.mark.parametrize("method", SETTINGS)
def test_pairs_are_the_models_and_the_same_in_any_order_and_batches(
    method: str, request: pytest.FixtureRequest, listed_examples: list[Example]
) -> None:
    policy: Policy = request.getfixturevalue("aligned" if method == "iris" else "policy")
    whole = worker_of(policy, method)(listed_examples)
    other = worker_of(policy, method, batch_size=5)
    halves = [other(block) for block in (listed_examples[6:], listed_examples[:6])]
    assert texts(whole) == texts([*halves[1], *halves[0]])
    made = [one for one in map(check_rejected, whole) if isinstance(one, Pair)]
    assert len(made) >= 2
    name = policy.ref.model if policy.ref.adapter is None else f"{policy.ref.model} + {Path(policy.ref.adapter).name}"
    for pair in made:
        assert pair.method == method
        assert pair.chosen != pair.rejected
        assert pair.example.facts["chosen_model"] == ("testbed-oracle" if method == "opa" else name)


def test_bdhs_own_is_bdhs_of_the_first_own_answer_without_a_fault(
    policy: Policy, listed_examples: list[Example]
) -> None:
    settings = BUILDERS.get("bdhs-own").config()(**SETTINGS["bdhs-own"])
    prompts = encode(policy, [policy.prompter(example) for example in listed_examples])
    decoding = settings.decoding(48, 0)
    sampled = sample_answers(policy, prompts, [example.id for example in listed_examples], decoding, settings.samples)

    def faultless(example: Example, answer: str) -> bool:
        judged = [oracle.judge(part, oracle.scene_of(example.id)) for part in split(answer)]
        said = all(one.mentioned or one.claims for one in judged)
        return said and not any(one.false_claims or one.hallucinated for one in judged)

    wanted = {}
    for example, answers in zip(listed_examples, sampled, strict=True):
        own = [one.text for one in answers if one.text and not one.cut and faultless(example, one.text)]
        if own:
            wanted[example.id] = replace(example, answer=own[0])
    made = BdhsSampler(policy, load_similarity(EMBEDDER), settings, 0)(list(wanted.values()))
    naive = {
        name: (example.answer, one.answer)
        for (name, example), one in zip(wanted.items(), made, strict=True)
        if not one.cut_off
    }
    outcomes = worker_of(policy, "bdhs-own")(listed_examples)
    assert naive == {one.example.id: (one.chosen, one.rejected) for one in outcomes if isinstance(one, Pair)}
    assert {one.reason for one in outcomes if isinstance(one, Skip)} <= {"fault", "no-verdict", "cut-off"}


def test_bdhs_own_asks_the_model_itself_unless_somebody_is_named(
    policy: Policy, listed_examples: list[Example]
) -> None:
    assert spelled_out(BuildRecipe(MODEL, "testbed", "bdhs-own")).annotator == "policy"
    assert spelled_out(BuildRecipe(MODEL, "testbed", "bdhs-own", annotator="testbed-oracle")).annotator != "policy"
    builder = BUILDERS.get("bdhs-own")
    sure, never = (
        builder.worker(
            Context(lambda: policy, policy.ref, 0, 0, "policy"),
            builder.config()(**{**SETTINGS["bdhs-own"], "min_truth": bound, "instruction": "{claim}"}),
        )(listed_examples[:3])
        for bound in (0.0, 1.0)
    )
    assert all(isinstance(one, Pair) or one.reason == "cut-off" for one in sure)
    assert {one.reason for one in never if isinstance(one, Skip)} == {"fault"}


def test_what_bdhs_own_shows_again_is_preprocessed_ahead_again(policy: Policy, listed_examples: list[Example]) -> None:
    worker = worker_of(policy, "bdhs-own")
    begun: list[Example] = []
    shown: list[Example] = []

    def prepare(example: Example) -> Any:
        shown.append(example)
        return worker.ahead(example)

    worker.ahead.begin, worker.sampler.prepare = begun.extend, prepare
    worker(listed_examples[:4])
    assert begun == shown
    assert shown


def test_opa_corrects_the_models_own_answer_and_keeps_what_is_true(
    policy: Policy, listed_examples: list[Example]
) -> None:
    prompts = encode(policy, [policy.prompter(example) for example in listed_examples])
    own = generate_answers(policy, prompts, [example.id for example in listed_examples], Decoding(48))
    said = {example.id: answer.text for example, answer in zip(listed_examples, own, strict=True)}
    made = [one for one in map(check_rejected, worker_of(policy, "opa")(listed_examples)) if isinstance(one, Pair)]
    for pair in made:
        assert pair.rejected == said[pair.example.id]
        scene = oracle.scene_of(pair.example.id)
        before, after = (oracle.judge(text, scene) for text in (pair.rejected, pair.chosen))
        assert len(after.hallucinated) <= len(before.hallucinated)
        assert not after.false_claims
        for sentence in split(pair.rejected):
            judged = oracle.judge(sentence, scene)
            if judged.claims and not judged.false_claims and pair.example.prompt[-1].content in CAPTIONS:
                assert sentence.strip() in pair.chosen


def test_the_oracle_makes_true_what_it_made_false(listed_examples: list[Example]) -> None:
    asked = [Rewriting(one.id, one.images, one.prompt, one.answer) for one in listed_examples]
    false = [replace(one, answer=str(reply.text)) for one, reply in zip(asked, JUDGE.rewrite(asked), strict=True)]
    assert [reply.text for reply in JUDGE.correct(asked)] == [one.answer for one in asked]
    for one, reply in zip(asked, JUDGE.correct(false), strict=True):
        judged = oracle.judge(str(reply.text), oracle.scene_of(one.id))
        assert not judged.false_claims
        assert not judged.hallucinated
        if one.prompt[-1].content not in CAPTIONS:  # a question has one true answer
            assert reply.text == one.answer
    assert sum(wrong.answer != one.answer for wrong, one in zip(false, asked, strict=True)) > len(asked) / 2


def test_a_model_that_corrects_itself_is_named_as_who_wrote_the_chosen_answers(
    policy: Policy, listed_examples: list[Example]
) -> None:
    builder = BUILDERS.get("opa")
    worker: Any = builder.worker(
        Context(lambda: policy, policy.ref, 0, 0, "policy"), builder.config()(**SETTINGS["opa"])
    )
    made = [one for one in worker(listed_examples[:2]) if isinstance(one, Pair)]
    assert {pair.example.facts["chosen_model"] for pair in made} == {str(policy.ref)}


def test_self_correction_puts_best_and_worst_together(policy: Policy, listed_examples: list[Example]) -> None:
    """Against every way to choose a form a sentence."""
    forms = [["A. ", "B. "], ["C. "], ["D.", "E.", "F."]]
    truths = {"A. ": 0.2, "B. ": 0.9, "D.": 0.5, "E.": 0.45, "F.": 0.8}

    def total(chosen: tuple[str, ...]) -> float:
        return sum(truths.get(form, 0.0) for form in chosen)

    def picked(**settings: Any) -> Any:
        asked = iter([truths[form] for sentence in forms if len(sentence) > 1 for form in sentence])
        return worker_of(policy, "self-correct", **settings)._pick(listed_examples[0], forms, asked)

    ways = list(itertools.product(*forms))
    best, worst = max(ways, key=total), min(ways, key=total)
    chosen, rejected, margin = picked()
    assert (chosen, rejected) == ("".join(best), "".join(worst))
    assert margin == pytest.approx((total(best) - total(worst)) / len(forms))
    assert picked(hardness=1.0)[:2] == ("B. C. F.", "A. C. D.")
    assert picked(min_margin=0.6)[:2] == ("B. C. F.", "A. C. F.")
    assert picked(min_margin=0.8).reason == "tie"


def test_sentences_are_written_again_in_their_place(policy: Policy, listed_examples: list[Example]) -> None:
    example = next(one for one in listed_examples if one.prompt[-1].content in CAPTIONS)
    [prompt] = encode(policy, [policy.prompter(example)])
    decoding = Decoding(24, greedy=False, temperature=1.5)
    [forms] = resample_sentences(policy, [Draft(example, prompt, example.answer)], decoding, 3)
    assert "".join(sentence[0] for sentence in forms) == example.answer
    assert max(map(len, forms)) > 1
    for original, sentence in zip(sentences(example.answer), forms, strict=True):
        assert len(set(sentence)) == len(sentence)
        assert all(form.endswith(original.trailing) and len(split(form)) == 1 for form in sentence)
    [greedy] = resample_sentences(policy, [Draft(example, prompt, example.answer)], Decoding(24), 1)
    [own] = generate_answers(policy, [prompt], [example.id], Decoding(48))
    assert greedy[0][-1].strip() == split(own.text)[0].strip(), "the first sentence has nothing before it"


def test_rewards_are_what_the_adapter_changed(policy: Policy, aligned: Policy, listed_examples: list[Example]) -> None:
    asked = [(example, text) for example in listed_examples[:2] for text in (example.answer, "There is a cup.")]

    def total(judge: Policy, example: Example, text: str) -> tuple[float, float]:
        [prompt] = encode(judge, [judge.prompter(example)])
        [score] = log_probs(judge, [prompt], [own_tokens(judge, example.prompt, 1, text)[0]])
        return score.total, score.mean

    naive = [[a - b for a, b in zip(total(aligned, *one), total(policy, *one), strict=True)] for one in asked]
    assert worker_of(aligned, "iris").rewards(asked) == pytest.approx([one[0] for one in naive], abs=1e-3)
    per_token = worker_of(aligned, "iris", per_token=True).rewards(asked)
    assert per_token == pytest.approx([one[1] for one in naive], abs=1e-4)
    assert max(abs(reward) for reward in per_token) > 1e-3
    [one, *_] = worker_of(aligned, "iris", min_margin=1e6)(listed_examples[:1])
    assert isinstance(one, Skip)


def test_a_reward_is_of_the_answers_own_tokens_alone(aligned: Policy, listed_examples: list[Example]) -> None:
    """What the prompt format writes before every answer (an empty block of reasoning) weighs most in short ones."""
    policy = load_policy(aligned.ref)
    template = policy.processor.chat_template
    policy.processor.chat_template = template.replace("{{- text + eos_token", "{{- 'There is a ' + text + eos_token")
    example, text = listed_examples[0], "cup."
    written = policy.written_answer(example.prompt, 1, text)
    assert written.text.startswith(" There is a cup.")
    ids = [token for token, (begin, _) in zip(written.ids, written.spans, strict=True) if begin < written.begin + 4]
    first = sum(end <= written.begin for _, end in written.spans)
    assert 0 < first < len(ids)

    def mean() -> float:
        [logits] = answer_logits(policy, encode(policy, [policy.prompter(example)]), [ids])
        scores = logits.log_softmax(-1)[range(len(ids)), ids]
        return float(scores[first:].mean())

    own = mean()
    with policy.without_adapter():
        base = mean()
    assert worker_of(policy, "iris", per_token=True).rewards([(example, text)]) == pytest.approx([own - base], abs=1e-4)


@pytest.mark.parametrize(
    ("method", "settings", "message"),
    [
        ("bdhs-own", {"samples": 0}, "at least 1"),
        ("bdhs-own", {"greedy": True}, "makes all samples equal"),
        ("bdhs-own", {"min_truth": 1.5}, "min_truth"),
        ("bdhs-own", {"instruction": "true?"}, r"no \{claim\}"),
        ("opa", {"instruction": "{prompt}"}, r"no \{answer\}"),
        ("chair-rank", {"synonyms": None}, "needs a table of synonyms"),
        ("chair-rank", {"min_margin": 2.0}, "min_margin"),
        ("self-correct", {"hardness": -0.1}, "hardness"),
        ("self-correct", {"max_sentence_tokens": 0}, "max_sentence_tokens"),
        ("self-correct", {"instruction": "true?"}, r"no \{claim\}"),
        ("iris", {"adapter": None}, "needs an adapter"),
        ("iris", {"min_margin": -1.0}, "min_margin"),
    ],
)
def test_impossible_settings_are_refused(method: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        BUILDERS.get(method).config()(**{**SETTINGS[method], **settings})


def test_lists_say_what_they_need() -> None:
    rows = json.loads(CliRunner().invoke(program, ["list", "datasets", "--json"], catch_exceptions=False).stdout)
    needs = {row["name"]: row["needs"] for row in rows}
    rest = ["an embedder (--similarity-model)"]
    assert needs["bdhs-own"] == needs["self-correct"] == ["--model", "--source", *rest]
    assert needs["opa"] == ["--model", "--source", "--annotator", *rest]
    assert needs["chair-rank"] == ["--model", "--source", "--set builder.synonyms=PATH", *rest]
    assert needs["iris"] == ["--model", "--source", "--set builder.adapter=RUN", *rest]


def test_a_build_names_its_adapter_and_its_card_nobody_who_judged(tmp_path: Path, aligned: Policy) -> None:
    from mmpref.hub.cards.dataset import write_dataset_card

    adapter = str(aligned.ref.adapter)
    recipe = BuildRecipe(MODEL, "testbed", "iris", limit=6, builder={**SETTINGS["iris"], "adapter": adapter})
    manifest = build_dataset(recipe, tmp_path / "run", write_card=write_dataset_card)
    assert manifest["written"] == ["chosen", "rejected"]
    assert manifest["recipe"]["builder"]["adapter"] == adapter
    assert re.search(r"method <code>iris</code> told them apart\.", (tmp_path / "run/README.md").read_text())


def test_any_method_writes_with_the_adapter_that_is_given(tmp_path: Path, aligned: Policy) -> None:
    """As if the adapter were part of the model; the run and its card name it by its weights."""
    from mmpref.hub.cards.dataset import write_dataset_card

    settings = {"similarity_model": EMBEDDER, "iterations": 1, "rho_th": 0.9, "max_tail_tokens": 16}
    recipe = BuildRecipe(MODEL, "testbed-objects", "bdhs", limit=ROWS, block_size=ROWS, builder=settings)
    adapter = Path(shutil.copytree(str(aligned.ref.adapter), tmp_path / "adapter"))
    adapted = replace(recipe, adapter=str(adapter))
    manifest = build_dataset(adapted, tmp_path / "adapted", write_card=write_dataset_card)
    build_dataset(recipe, tmp_path / "plain")
    rejected = {name: rejected_of(tmp_path / name) for name in ("adapted", "plain")}
    [(_, block)] = Source([open_table("testbed-objects")], limit=ROWS).blocks(ROWS, lambda _: True)
    builder = BUILDERS.get("bdhs")
    worker = builder.worker(Context(lambda: aligned, aligned.ref, 0, 0), builder.config()(**settings))
    naive = {one.example.id: one.rejected for one in worker(block) if isinstance(one, Pair)}
    assert len(rejected["adapted"]) >= 2, "this adapter writes much that is no answer"
    assert rejected["adapted"] == {name: naive[name] for name in rejected["adapted"]} != rejected["plain"]
    assert manifest["adapter"]["weights"] in (tmp_path / "adapted/README.md").read_text()
    with pytest.raises(UsageError, match=r"has the adapter builder\.adapter"):
        build_dataset(replace(adapted, method="iris", builder=SETTINGS["iris"]), tmp_path / "two")
    assert build_dataset(adapted, tmp_path / "adapted") == manifest
    config = adapter / "adapter_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "lora_alpha": 1}))
    with pytest.raises(RunError, match=r"^The adapter .* has changed since .*adapted was made"):
        build_dataset(adapted, tmp_path / "adapted")
    (tmp_path / "adapted/run.json").unlink()
    with pytest.raises(RunError, match=r"^The adapter .* has changed since .*adapted was begun"):
        build_dataset(adapted, tmp_path / "adapted")


def rejected_of(run: Path) -> dict[str, str]:
    [file] = (run / "data").glob("*.parquet")
    return {row["id"]: row["rejected"][0]["content"] for row in pq.read_table(file).to_pylist()}


@pytest.mark.long
@pytest.mark.parametrize(
    ("method", "pairs"), [("bdhs-own", 7), ("opa", 16), ("chair-rank", 20), ("self-correct", 18), ("iris", 30)]
)
def test_rows_enough_give_a_pair_and_shards_give_the_same_bytes(
    method: str, pairs: int, tmp_path: Path, aligned: Policy
) -> None:
    settings = {**SETTINGS[method], **({"adapter": str(aligned.ref.adapter)} if method == "iris" else {})}
    annotator = "testbed-oracle" if BUILDERS.get(method).needs_annotator else None
    recipe = BuildRecipe(
        MODEL, "testbed-objects", method, limit=40, block_size=16, annotator=annotator, builder=settings
    )
    assert build_dataset(recipe, tmp_path / "whole")["counts"]["rows"] >= pairs
    for index in (1, 0):
        build_dataset(recipe, tmp_path / "split", shard=(index, 2))
    files = [sorted((tmp_path / name / "data").glob("*.parquet")) for name in ("whole", "split")]
    assert files[0]
    assert [file.read_bytes() for file in files[0]] == [file.read_bytes() for file in files[1]]
