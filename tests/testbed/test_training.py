"""Training: equal seeds give equal weights, and packed turns are what a model of any architecture reads one by one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText, AutoTokenizer

from mmpref.api.models import load_policy
from mmpref.registry import resolve_path
from mmpref.study import plan as plans
from mmpref.testbed import things
from mmpref.testbed.language import ask_where, caption
from mmpref.testbed.render import image, pixels
from mmpref.testbed.training import architectures, build, language, tower
from mmpref.testbed.training.base import train_base
from mmpref.testbed.training.eyes import Eyes, LlavaNextEyes
from mmpref.testbed.training.idefics3 import Idefics3Eyes
from mmpref.testbed.training.language import Batcher, features, teach_captions, teach_reading
from mmpref.testbed.training.looking import GuidedAttention
from mmpref.testbed.training.qwen2_5_vl import Qwen25VlEyes
from mmpref.testbed.training.several import MODEL, teach_several
from mmpref.testbed.training.tower import train_tower
from mmpref.testbed.world import COLUMNS, ROWS, scene
from mmpref.types import Message, ModelRef
from mmpref.vlm.decoding import Decoding
from mmpref.vlm.families import find_family
from mmpref.vlm.generate import Request, generate
from mmpref.vlm.policy import Policy


def _trained(seed: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    eyes = architectures.EYES["llava-next"](build.SIZES["0.5M"])
    train_tower(eyes, steps=4, batch=4, seed=seed, log=len)
    teach_reading(eyes, align_steps=4, finding_steps=2, reading_steps=2, plain_scenes=24, seed=seed, log=len)
    teach_captions(eyes, steps=4, scenes=24, seed=seed, log=len)
    return eyes.model.state_dict()


@pytest.mark.long
def test_equal_seeds_give_equal_weights():
    one, two, other = _trained(0), _trained(0), _trained(1)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["lm_head.weight"], other["lm_head.weight"])


@pytest.mark.long
def test_bases_that_differ_in_captions_share_a_reader_and_are_what_they_would_be(tmp_path, monkeypatch):
    lengths = {"tower_steps": 2, "plain_scenes": 24, "align_steps": 3, "finding_steps": 2, "reading_steps": 2}
    lengths |= {"language_steps": 2, "language_scenes": 24, "measured": 1}

    def weights(cache: str, name: str, **options) -> bytes:
        monkeypatch.setenv("MMPREF_CACHE", str(tmp_path / cache))
        train_base(seed=0, output=tmp_path / name, lengths=lengths, **options)
        return (tmp_path / name / "model.safetensors").read_bytes()

    usual, alone = weights("shared", "usual"), weights("own", "alone", kind_first=1.0)
    assert weights("shared", "second", kind_first=1.0) == alone != usual
    spent = {name: json.loads((tmp_path / name / "TRAINING.json").read_text()) for name in ("alone", "second")}
    assert [{"tower", "reading"} <= of["cpu_seconds"].keys() for of in spent.values()] == [True, False]
    assert spent["second"]["tower_accuracy"] == spent["alone"]["tower_accuracy"]
    assert len([*(tmp_path / "shared/testbed").iterdir()]) == 1
    weights("shared", "other", held_out=True)
    assert len([*(tmp_path / "shared/testbed").iterdir()]) == 2, "who has seen other scenes reads otherwise"


@pytest.fixture(scope="module", params=architectures.EYES)
def eyes(request, model, processor) -> Eyes:
    """The checkpoint that ships, and models of the other architectures that have learned nothing."""
    if request.param == architectures.LLAVA_NEXT:
        return LlavaNextEyes(model, processor)
    torch.manual_seed(0)
    made = architectures.EYES[request.param](build.SIZES["0.5M"])
    made.model.eval()
    return made


def test_the_study_of_sizes_says_how_large_models_are():
    plan = plans.load("sizes")
    [lead] = plan.leads
    sizes = {world: plan.bases.of(world).options.get("size", "0.5M") for world in lead.at}
    made = {world: architectures.EYES["llava-next"](build.SIZES[size]).model for world, size in sizes.items()}
    assert lead.at == {world: round(model.num_parameters() / 1e6, 1) for world, model in made.items()}
    assert all(f"{million:g}" in plan.note for million in lead.at.values())


TOKENS = {LlavaNextEyes: (46, 6), Idefics3Eyes: (10, 0), Qwen25VlEyes: (9, 0)}
"""Tokens of an image, and how many of these end a line."""


def test_its_tower_takes_what_the_processor_makes_of_a_picture(eyes):
    truths = [scene("test", index) for index in range(2)]
    asked = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Describe the image."}]}]
    text = eyes.processor.apply_chat_template(asked, add_generation_prompt=True)
    inputs = eyes.processor(text=[text] * 2, images=[image(truth) for truth in truths], return_tensors="pt")
    taken = eyes.inputs([pixels(truth) for truth in truths])
    if not eyes.gist:
        torch.testing.assert_close(taken.flatten(0, 1), inputs["pixel_values"])
        return
    order = eyes.order().div(eyes.tokens, rounding_mode="floor")
    regions = torch.unique_consecutive(order[order >= 0]) if eyes.line_end is None else torch.arange(10)
    torch.testing.assert_close(taken[:, regions], inputs["pixel_values"])


@pytest.mark.long
@pytest.mark.usefixtures("own_cache")
@pytest.mark.parametrize("architecture", ["idefics3", "qwen2.5-vl"])
def test_a_base_of_another_architecture_is_one_that_mmpref_loads(architecture, tmp_path):
    lengths = {"tower_steps": 2, "plain_scenes": 24, "align_steps": 3, "finding_steps": 2, "reading_steps": 2}
    lengths |= {"language_steps": 2, "language_scenes": 24, "measured": 1}
    folder = tmp_path / "base"
    train_base(seed=0, output=folder, lengths=lengths, architecture=architecture)
    assert json.loads((folder / "TRAINING.json").read_text())["architecture"] == architecture
    if architecture == "qwen2.5-vl":  # loading its processor whole needs torchvision
        made = architectures.EYES[architecture](build.SIZES["0.5M"]).processor
        tokenizer = AutoTokenizer.from_pretrained(folder)
        assert (tokenizer.get_vocab(), tokenizer.chat_template) == (made.tokenizer.get_vocab(), made.chat_template)
        assert json.loads((folder / "preprocessor_config.json").read_text())["patch_size"] == build.PATCH
        loaded = AutoModelForImageTextToText.from_pretrained(folder)
        policy = Policy(loaded, made, find_family(loaded.config.model_type, str(folder)), ModelRef(str(folder)))
    else:
        policy = load_policy(str(folder))
    assert policy.family.model_type == architecture.replace("-", "_").replace(".", "_")
    asked = Request((Message("user", "Describe the image."),), (image(scene("test", 0)),))
    assert len(generate(policy, [asked], Decoding(max_new_tokens=4))) == 1


@pytest.mark.long
@pytest.mark.usefixtures("own_cache")
def test_a_base_may_learn_without_what_is_held_out(tmp_path, monkeypatch):
    """Of every picture that a training draws, for the tower and for language; else some 13 % of plain things are."""
    drawn = []
    for module in (tower, language):
        monkeypatch.setattr(module, "pixels", lambda truth: drawn.append(truth) or pixels(truth))
    lengths = {"tower_steps": 1, "plain_scenes": 24, "align_steps": 1, "finding_steps": 1, "reading_steps": 1}
    lengths |= {"language_steps": 1, "language_scenes": 40, "measured": 1}
    train_base(seed=0, output=tmp_path / "base", lengths=lengths, held_out=True)
    assert {truth.split for truth in drawn} == {"train", "balanced", "plain"}
    assert len(drawn) == 64 + 24 + 40
    assert not any(name in things.held_out(truth.kind) for truth in drawn for name in truth.names)
    assert json.loads((tmp_path / "base" / "TRAINING.json").read_text())["held_out"] is True


@pytest.mark.usefixtures("own_cache")
def test_a_base_goes_on_to_several_pictures_by_the_training_of_everybody(tmp_path):
    teach_several(seed=0, output=tmp_path / "base", epochs=1, rows=32, measured=2)
    load_policy(str(tmp_path / "base"))
    before = load_file(Path(resolve_path(MODEL)) / "model.safetensors")
    after = load_file(tmp_path / "base" / "model.safetensors")
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert not any("vision_tower" in name for name in changed)
    figures = json.loads((tmp_path / "base" / "TRAINING.json").read_text())
    assert figures["rows"] == 32
    assert figures["test"]["captions"]["captions"] == figures["test_of_two"]["captions"]["captions"] == 2


@torch.no_grad()
def test_every_cell_has_its_tokens(eyes):
    """A thing that is changed changes the tower's output of its cell the most, and that is where `cells` says it is."""
    order, cells = eyes.order(), eyes.cells()
    assert (len(order), int((order < 0).sum())) == TOKENS[type(eyes)]
    assert torch.equal(torch.bincount(cells[cells >= 0]), torch.full((9,), eyes.tokens))
    before = np.zeros((96, 96, 3), np.uint8)
    for cell in range(9):
        after = before.copy()
        after[cell // 3 * 32 : cell // 3 * 32 + 32, cell % 3 * 32 : cell % 3 * 32 + 32] = 255
        one, other = (eyes.in_order(eyes.project(eyes.hidden(eyes.inputs([it]))), order)[0] for it in (before, after))
        moved = torch.where(cells >= 0, (one - other).norm(dim=-1), -1)
        assert cells[moved.argmax()] == cell


@torch.no_grad()
def test_packed_turns_equal_turns_read_alone(eyes):
    truth, processor = scene("test", 0), eyes.processor
    batcher = Batcher(eyes)
    asked = ask_where(truth.things[0])
    turns = [("Describe the image.", caption(truth), 0.0), (*asked.turn(short=True), 0.0)]
    ids, labels, positions, mask = batcher([turns], np.random.default_rng(1))
    seen = eyes.in_order(eyes.project(features(eyes, [truth]).float()), eyes.order())
    embeds = eyes.language.embed_tokens(ids).index_copy(1, batcher.image, seen)
    packed = eyes.language(inputs_embeds=embeds, position_ids=positions, attention_mask=mask).last_hidden_state
    at = len(batcher.prefix)
    for prompt, answer, _ in turns:
        branch, asked = batcher.branch(prompt, answer, " ")
        alone_ids = torch.tensor([batcher.prefix + branch])
        assert torch.equal(ids[0, at : at + len(branch)], alone_ids[0, len(batcher.prefix) :])
        assert (labels[0, at : at + asked] == -100).all()
        assert (labels[0, at + asked : at + len(branch)] >= 0).all()
        said = processor.apply_chat_template(_turn(prompt, answer))
        inputs = processor(text=[said], images=[image(truth)], return_tensors="pt")
        assert torch.equal(inputs["input_ids"], alone_ids)
        alone = eyes.model.model(**inputs).last_hidden_state[0, len(batcher.prefix) :]
        torch.testing.assert_close(packed[0, at : at + len(branch)], alone, atol=5e-3, rtol=1e-2)
        at += len(branch)


def _turn(prompt: str, answer: str) -> list[dict]:
    asked = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": prompt}]}
    return [asked, {"role": "assistant", "content": answer}]


def test_guided_attention_wants_the_tiles_of_what_is_named(model, processor):
    truths = [scene("plain", 0), scene("plain", 1)]
    eyes = LlavaNextEyes(model, processor)
    batcher = Batcher(eyes)
    thing = truths[1].things[2]
    assert thing.name not in truths[0].names
    guide = GuidedAttention(processor.tokenizer, truths, eyes.cells(), batcher.image)
    word = processor.tokenizer(thing.name, add_special_tokens=False)["input_ids"][:1]
    ids = torch.tensor([batcher.prefix + word] * 2)
    length, asked = ids.shape[1], ids.shape[1] - 1
    cell = ROWS.index(thing.row) * COLUMNS + truths[1].columns[2]
    tiles = batcher.image[eyes.cells() == cell].tolist()
    assert len(tiles) == 4
    nothing = torch.full_like(ids, -100)

    def looks(at: int, *rows: list[int]) -> torch.Tensor:
        attention = torch.zeros(2, 3, length, length)
        for row, places in enumerate(rows):
            attention[row, 0, at, places] = 1 / len(places)
        return attention

    def found(first: list[int], second: list[int]) -> float:
        attentions = (looks(asked, first, second), looks(asked, [0], [0]))
        return guide(attentions, ids, nothing, torch.tensor([0, 1])).item()

    assert found([0], tiles) == pytest.approx(0, abs=1e-6), "on the first token where it is not there"
    assert found(tiles, tiles) > 1
    assert found([0], [0]) > 1
    assert found([0], [*tiles, tiles[-1] + 1]) == pytest.approx(-np.log(4 / 5) / 2, rel=1e-5)

    def coming(second: list[int]) -> float:
        targets = torch.where(torch.arange(length) == asked, ids, nothing)
        attentions = (looks(asked, [0], tiles), looks(asked - 1, tiles, second))
        return guide(attentions, ids, targets, torch.tensor([0, 1])).item()

    assert coming(tiles) == pytest.approx(0, abs=1e-6), "what is not there is not looked for"
    assert coming([0]) > 1
