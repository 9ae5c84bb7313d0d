"""Detectors of transformers on tiny random models of each kind, and the testbed's, which knows."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mmpref.errors import ModelError
from mmpref.judges.detectors import Search, TransformersDetector, open_detector
from mmpref.testbed.render import png
from mmpref.testbed.world import scene
from mmpref.types import ImageData

NAMES = ("cat", "red dog", "saw", "cup", "axe", "fork", "tree", "kite", "owl")


def picture() -> ImageData:
    content = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(content, "PNG")
    return ImageData(content.getvalue())


def grounding_dino(folder: Path) -> None:
    from transformers import (
        BertTokenizer,
        GroundingDinoConfig,
        GroundingDinoForObjectDetection,
        GroundingDinoImageProcessor,
        GroundingDinoProcessor,
        SwinConfig,
    )

    words = [f"[unused{number}]" for number in range(1100)]
    words[0], words[100:104], words[1012], words[1029] = "[PAD]", ["[UNK]", "[CLS]", "[SEP]", "[MASK]"], ".", "?"
    words[200:210] = ["cat", "red", "dog", "saw", "cup", "axe", "fork", "tree", "kite", "owl"]
    (folder / "vocab.txt").write_text("\n".join(words))
    backbone = SwinConfig(
        image_size=32,
        patch_size=4,
        embed_dim=8,
        depths=[1, 1, 1],
        num_heads=[1, 1, 1],
        window_size=2,
        out_features=["stage1", "stage2", "stage3"],
    )
    text = {
        "model_type": "bert",
        "vocab_size": 1100,
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
    }
    config = GroundingDinoConfig(
        backbone_config=backbone,
        text_config=text,
        d_model=32,
        encoder_layers=1,
        decoder_layers=2,
        num_queries=6,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        num_feature_levels=3,
        encoder_n_points=2,
        decoder_n_points=2,
        fusion_dropout=0.0,
    )
    GroundingDinoForObjectDetection(config).save_pretrained(folder)
    images = GroundingDinoImageProcessor(size={"shortest_edge": 32, "longest_edge": 64})
    GroundingDinoProcessor(images, BertTokenizer(str(folder / "vocab.txt"))).save_pretrained(folder)


def owlv2(folder: Path) -> None:
    from transformers import CLIPTokenizer, Owlv2Config, Owlv2ForObjectDetection, Owlv2ImageProcessor, Owlv2Processor

    letters = "abcdefghijklmnopqrstuvwxyz"
    vocabulary = ["!", *letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(vocabulary)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    common = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    ends = {"bos_token_id": len(vocabulary) - 2, "eos_token_id": len(vocabulary) - 1, "pad_token_id": 0}
    config = Owlv2Config(
        text_config={**common, "vocab_size": len(vocabulary), "max_position_embeddings": 16, **ends},
        vision_config={**common, "image_size": 32, "patch_size": 16},
        projection_dim=16,
    )
    Owlv2ForObjectDetection(config).save_pretrained(folder)
    tokenizer = CLIPTokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), pad_token="!", model_max_length=16
    )
    Owlv2Processor(Owlv2ImageProcessor(size={"height": 32, "width": 32}), tokenizer).save_pretrained(folder)


@pytest.mark.parametrize("make", [grounding_dino, owlv2])
def test_a_model_of_transformers_finds_each_name_by_itself(make: Callable[[Path], None], tmp_path: Path) -> None:
    torch.manual_seed(0)
    make(tmp_path)
    detector = open_detector(str(tmp_path))
    assert isinstance(detector, TransformersDetector)
    [found] = detector.detect([Search(picture(), NAMES)])
    assert tuple(found) == NAMES
    assert any(found.values()), "random weights find something at these thresholds"
    for boxes in found.values():
        for left, top, right, bottom in boxes:
            assert 0 <= left <= right <= 1
            assert 0 <= top <= bottom <= 1
    alone = {name: detector.detect([Search(picture(), (name,))])[0][name] for name in NAMES[:3]}
    for name, boxes in alone.items():
        assert np.allclose(boxes, found[name], atol=1e-4), "whatever else is looked for"


def test_the_testbeds_oracle_knows_where_things_stand() -> None:
    truth = scene("train", 3)
    [found] = open_detector("testbed-oracle").detect([Search(ImageData(png(truth)), (*truth.names, "no such thing"))])
    assert found.pop("no such thing") == []
    assert all(len(boxes) == 1 for boxes in found.values())
    assert len({boxes[0] for boxes in found.values()}) == len(truth.names)
    [wrong] = open_detector("testbed-oracle:1").detect([Search(ImageData(png(truth)), (truth.names[0], "saw"))])
    assert bool(wrong[truth.names[0]]) is False
    assert bool(wrong["saw"]) is ("saw" not in truth.names)


def test_a_folder_that_is_none_is_told() -> None:
    with pytest.raises(ModelError, match="detector"):
        open_detector("/no/such/folder").detect([Search(picture(), ("cat",))])
