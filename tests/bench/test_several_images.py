"""Questions about several images: all are shown, in their order, whoever is asked; and each of them counts."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mmpref.bench.answer_cache import CachedAnswerer
from mmpref.bench.answers import endpoint_answerer
from mmpref.bench.benchmark import BENCHMARKS, Sample
from mmpref.bench.identity import data_facts
from mmpref.bench.image_store import ImageStore
from mmpref.bench.local_answerer import LocalAnswerer
from mmpref.bench.reward_answerer import reward_answerer
from mmpref.errors import ImageError
from mmpref.images import decode
from mmpref.run.results import ADAPTER, BASE
from mmpref.tables.open import open_table
from mmpref.types import ImageData, Message
from mmpref.vlm.adapters import HEAD
from mmpref.vlm.policy import Policy
from mmpref.vlm.preprocessing_pool import PreprocessingPool
from mmpref.vlm.reward_model import RewardModel, add_value_head
from tests.bench.test_replies import picture
from tests.judges.server import ChatServer
from tests.vlm.tiny import tiny

from .conftest import png, write_rows

FAMILIES = ("llava_next", "qwen2_5_vl", "internvl")
TOKENS = 6


def sample(name: str, *shapes: tuple[int, int], asked: str = "What is it?") -> Sample:
    images = [picture(shape, f"{name}, image {number}") for number, shape in enumerate(shapes)]
    return Sample(name, name, images[0], (Message("user", asked),), None, further_images=tuple(images[1:]))


def samples() -> list[Sample]:
    """Of one image, of two, of the same two the other way round, and once more of the two."""
    both = sample("two", (60, 60), (44, 60))
    assert both.image is not None
    turned = replace(both, id="turned", image=both.images[1], further_images=(both.image,))
    return [sample("one", (60, 60)), both, turned, replace(both, id="again", messages=(Message("user", "w1 w2 ."),))]


def naive(policy: Policy, asked: Sample) -> str:
    """One greedy answer by transformers itself, to the prompt that the chat template writes of all its images."""
    images = [decode(image) for image in asked.images]
    parts = [*({"type": "image"} for _ in images), {"type": "text", "text": asked.messages[0].content}]
    text = policy.processor.apply_chat_template(
        [{"role": "user", "content": parts}], tokenize=False, add_generation_prompt=True
    )
    inputs = policy.processor(text=[text], images=[images], return_tensors="pt", add_special_tokens=False)
    with torch.no_grad():
        written = policy.base_model.generate(**inputs, max_new_tokens=TOKENS, do_sample=False)
    answer: str = policy.tokenizer.decode(written[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return answer.strip()


@pytest.mark.parametrize("name", FAMILIES)
def test_answers_are_those_to_all_images_in_their_order(name: str) -> None:
    policy = tiny(name)
    told = LocalAnswerer(lambda: policy, None)(samples(), TOKENS, [BASE])[BASE]
    assert told == [naive(policy, one) for one in samples()]
    assert len(set(map(str, told[:3]))) == 3, "or the second image, or their order, would not show"


def test_workers_and_blindness_change_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = copy.copy(tiny("llava_next"))
    broken = samples()[1]
    broken = replace(broken, id="broken", further_images=(ImageData(broken.images[1].content[:60], "the second one"),))
    asked = [*samples(), broken]
    pool = PreprocessingPool(policy.prompter, 1)
    ahead = LocalAnswerer(lambda: policy, None, workers=1)
    monkeypatch.setattr(ahead, "_pool", pool)
    ahead.begin(asked)
    answers = ahead(asked, TOKENS, [ADAPTER])[ADAPTER]
    pool.close()
    here = LocalAnswerer(lambda: policy, None)(asked, TOKENS, [ADAPTER])[ADAPTER]
    assert answers[:-1] == here[:-1]
    for answer in (answers[-1], here[-1]):
        assert isinstance(answer, ImageError)
        assert "the second one" in str(answer)
    blind = LocalAnswerer(lambda: policy, "no-image")(asked, TOKENS, [ADAPTER])[ADAPTER]
    assert blind[0] == blind[1] == blind[2], "of their question nothing but the images differs"
    assert isinstance(blind[-1], ImageError), "a blind run is over the samples of the sighted one"


def test_a_server_is_sent_all_of_them_in_their_order() -> None:
    with ChatServer(lambda body, _: "yes") as server:
        ask = endpoint_answerer({BASE: (server.url, "m")}, 1)
        assert ask(samples()[1:3], TOKENS, [BASE])[BASE] == ["yes", "yes"]
        sent = [
            [part["image_url"]["url"] for part in body["messages"][-1]["content"] if part["type"] == "image_url"]
            for body in server.requests
        ]
    assert len(sent[0]) == len(set(sent[0])) == 2
    assert sorted(sent) == sorted([sent[0], sent[0][::-1]])


def test_each_image_is_kept_once_and_comes_back_in_its_place() -> None:
    store = ImageStore(samples())
    back = [one for batch in store.batches(3) for one in batch]
    assert back == samples()
    size = sum(len(image.content) for image in samples()[1].images)
    store._file.seek(0, 2)
    assert store._file.tell() == size, "the first image of the two is that of the first question too"


def test_what_a_sample_is_made_of_is_all_its_images(tmp_path: Path) -> None:
    """A run does not go on, and no answer is shared, where the second image, or their order, is another."""
    table = open_table("testbed-pope", "test")
    facts = [data_facts(table, [replace(one, id="x")], {})["samples"] for one in samples()[:3]]
    assert len(set(facts)) == 3
    cached = CachedAnswerer(LocalAnswerer(lambda: tiny("llava_next"), None), tmp_path, {BASE: {}})
    assert len({cached._file(one, TOKENS, BASE) for one in samples()[:3]}) == 3


def test_pairs_about_several_images_are_asked_about(tmp_path: Path) -> None:
    for name, colour in (("a", "red"), ("b", "blue")):
        (tmp_path / f"{name}.png").write_bytes(png(colour))
    row = {"prompt": "What?", "chosen": "a", "rejected": "b"}
    rows = [{**row, "images": names} for names in (["a.png"], ["a.png", "b.png"], ["b.png", "a.png"], ["a.png"])]
    table = open_table(str(write_rows(tmp_path / "train.jsonl", rows)))
    for name, step in (("reward-model", 1), ("annotator", 2)):
        entry = BENCHMARKS.get(name)
        asked = entry.task(entry.settings()).samples(table, None)[::step]
        red, blue = png("red"), png("blue")
        contents = [[image.content for image in one.images] for one in asked]
        assert contents == [[red], [red, blue], [blue, red], [red]]
        keys = [one.image_id for one in asked]
        assert (keys[0] == keys[3], len(set(keys))) == (True, 3)


def test_a_reward_model_sees_all_of_them() -> None:
    policy = copy.deepcopy(tiny("llava_next"))
    add_value_head(policy.model)
    torch.nn.init.normal_(policy.model.get_submodule(HEAD).weight, generator=torch.Generator().manual_seed(0))
    reference = {"chosen": "w1 w2 .", "rejected": "w3 ."}
    asked = [replace(one, reference=reference) for one in samples()[:3]]
    values = [json.loads(str(answer)) for answer in reward_answerer(lambda: policy, None)(asked, 0, [ADAPTER])[ADAPTER]]
    model = RewardModel(policy)
    for one, value in zip(asked, values, strict=True):
        images = tuple(decode(image) for image in one.images)
        own = model.score(images, one.messages, list(reference.values()))
        assert list(value.values()) == pytest.approx(own)
    assert len({value["chosen"] for value in values}) == 3
