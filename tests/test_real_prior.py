"""The script that gives a text model eyes: cut to the tokens in use it says the same, and what it makes is a model."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoModelForImageTextToText, Gemma3ForCausalLM, Gemma3TextConfig, PreTrainedTokenizerFast

from mmpref.api.models import load_policy
from mmpref.study.plan import load
from mmpref.study.preview import check
from mmpref.testbed.language import CAPTION_PROMPTS
from mmpref.testbed.render import image
from mmpref.testbed.world import scene
from mmpref.types import Message
from mmpref.vlm.decoding import Decoding
from mmpref.vlm.generate import Request, generate

SCRIPTS = Path(__file__).parents[1] / "scripts"
SMALL = ["--align", "3", "--projector", "2", "--scenes", "8", "--batch", "1", "--rows", "8", "--images", "4"]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import real_prior

    return real_prior


@pytest.fixture(scope="module")
def text_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random text model of Gemma 3's kind, with byte-pair tokens of more texts than the world's."""
    folder = tmp_path_factory.mktemp("text")
    words = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=False))
    words.normalizer = normalizers.Replace(" ", "▁")
    words.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    words.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse()])
    said = [path.read_text() for path in sorted((SCRIPTS.parent / "docs").glob("*.md"))[:6]]
    said += ["At the back there is a cup and an egg. In the middle you see a saw. Describe this image in detail."] * 9
    special = ["<pad>", "<eos>", "<bos>", "<unk>"]
    words.train_from_iterator(said, trainers.BpeTrainer(vocab_size=900, special_tokens=special, show_progress=False))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", eos_token="<eos>", bos_token="<bos>", unk_token="<unk>"
    )
    torch.manual_seed(0)
    config = Gemma3TextConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        layer_types=["sliding_attention", "full_attention"],
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        query_pre_attn_scalar=16,
        sliding_window=512,
    )
    Gemma3ForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@torch.no_grad()
def test_the_cut_model_says_what_the_whole_one_does(script: ModuleType, text_model: Path) -> None:
    model = Gemma3ForCausalLM.from_pretrained(text_model).eval()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(text_model)
    smaller, words = script.language.cut(model, tokenizer, script.texts())
    assert len(words) < len(tokenizer)
    text = " At the back there is a cup and an egg."
    whole, part = (one(text, add_special_tokens=False, return_tensors="pt") for one in (tokenizer, words))
    tokens = words.convert_ids_to_tokens(part["input_ids"][0])
    assert tokens == tokenizer.convert_ids_to_tokens(whole["input_ids"][0])
    assert words.decode(part["input_ids"][0]) == text
    kept = [tokenizer.convert_tokens_to_ids(token) for token in words.convert_ids_to_tokens(range(len(words) - 1))]
    expected, said = (one(**ids).logits for one, ids in ((model, whole), (smaller, part)))
    torch.testing.assert_close(said[..., :-1], expected[..., kept])


def test_it_is_taught_to_see_in_parts_and_is_a_model_that_mmpref_loads(
    script: ModuleType, text_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(script.sight, "KEEP_EVERY", 0.0)
    given = ["--text-model", str(text_model), "--until", "sight", *SMALL]
    for output in ("whole", "parts"):
        folder = tmp_path / output
        if output == "parts":
            with monkeypatch.context() as patch:
                patch.setattr(script.sight._Stages, "_loss", _dies_at(script, 4))
                with pytest.raises(KeyboardInterrupt):
                    script.main(["--output", str(folder), "--steps", "3", *given])
            assert (folder / "taught" / "language.pt").is_file()
            assert not (folder / "model").exists()
        script.main(["--output", str(folder), "--steps", "3", *given])
    whole, parts = (
        AutoModelForImageTextToText.from_pretrained(tmp_path / name / "model") for name in ("whole", "parts")
    )
    assert all(torch.equal(one, other) for one, other in zip(whole.parameters(), parts.parameters(), strict=True))
    text = Gemma3ForCausalLM.from_pretrained(tmp_path / "whole" / "language")
    moved = whole.model.language_model.layers[0].mlp.down_proj.weight - text.model.layers[0].mlp.down_proj.weight
    assert moved.abs().max() > 0, "the LoRA is merged"
    policy = load_policy(str(tmp_path / "whole" / "model"))
    assert policy.family.model_type == "llava_next"
    asked = Request((Message("user", CAPTION_PROMPTS[0]),), (image(scene("test", 0)),))
    seen, blind = (
        generate(policy, [asked], Decoding(max_new_tokens=12), hide_images=hidden) for hidden in (False, True)
    )
    assert len(seen) == len(blind) == 1
    plan = script.write_plan(tmp_path, tmp_path / "whole" / "model", rows=8, images=4, seeds=1, rates=[1e-4], pope=True)
    check(load(str(plan)), tmp_path / "study")
    shown, hidden = script._chances(policy, scene("test", 0), "At the back there is a", "cup")
    assert 0 < shown < 1
    assert shown != hidden


def _dies_at(script: ModuleType, step: int) -> Any:
    """A loss that is interrupted at its step of that number."""
    own, taken = script.sight._Stages._loss, iter(range(1000))

    def loss(self: Any, rng: Any) -> torch.Tensor:
        if next(taken) == step:
            raise KeyboardInterrupt
        return own(self, rng)

    return loss


def test_pieces_that_are_not_the_file_are_told(script: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="0 pieces"):
        script.main(["--output", str(tmp_path / "out"), "--wheels", str(tmp_path)])
    assert not list(tmp_path.glob("out/*.gguf"))


def test_a_scene_is_a_row_of_the_page_whatever_is_said(script: ModuleType) -> None:
    scene = {"image": "test/7", "there": "cup, saw", "says": "a pen | and *more*", "word": "pen"}
    scene |= {"usual there": "yes", "probability": 0.31, "with the image hidden": 0.62}
    assert script.scenes_as_markdown([scene]).splitlines()[-1] == (
        "| test/7 | cup, saw | a pen &#124; and &#42;more&#42; | pen | yes | 0.31 | 0.62 |"
    )
