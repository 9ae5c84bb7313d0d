"""A small Idefics3: a SigLIP tower on the nine tiles and the picture made small, whose patches are shuffled to a token
a tile, between words that say which tile it is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from PIL import Image
from torch import nn
from transformers import GenerationConfig, Idefics3Config, Idefics3ForConditionalGeneration, Idefics3Processor
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

from mmpref.testbed.render import SIDE
from mmpref.testbed.training.build import (
    CHAT_TEMPLATE,
    IMAGE,
    PATCH,
    SIZES,
    TILE,
    Size,
    llama,
    special_ids,
    word_tokenizer,
)
from mmpref.testbed.training.eyes import CELLS, Eyes, crops

_SHUFFLE = 2
"""Patches a side that make one token."""
_LINES = 6
"""Tiles a side that the processor has words for."""


class Idefics3Eyes(Eyes):
    """The tiles come first, the picture made small last."""

    @property
    def width(self) -> int:
        return int(self.model.config.vision_config.hidden_size)

    @property
    def language(self) -> nn.Module:
        return self.model.model.text_model

    @property
    def projector(self) -> nn.Module:
        return self.model.model.connector

    @property
    def tower(self) -> Iterable[nn.Parameter]:
        return self.model.model.vision_model.parameters()

    def inputs(self, pictures: Sequence[np.ndarray]) -> torch.Tensor:
        return crops(self.processor.image_processor, pictures)

    def hidden(self, inputs: torch.Tensor) -> torch.Tensor:
        hidden = self.model.model.vision_model(inputs.flatten(0, 1)).last_hidden_state
        return hidden.unflatten(0, inputs.shape[:2])

    def project(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.projector(hidden.flatten(0, 1)).unflatten(0, hidden.shape[:2])

    def order(self) -> torch.Tensor:
        return torch.tensor([*range(1, CELLS + 1), 0])


def eyes(size: Size = SIZES["0.5M"]) -> Idefics3Eyes:
    """An untrained model; weights come from torch's global generator."""
    made = processor()
    tokenizer = made.tokenizer
    config = Idefics3Config(
        vision_config={
            "hidden_size": size.tower,
            "intermediate_size": 3 * size.tower,
            "num_hidden_layers": size.tower_layers,
            "num_attention_heads": 4,
            "image_size": TILE,
            "patch_size": PATCH,
        },
        text_config=llama(tokenizer, size),
        image_token_id=tokenizer.convert_tokens_to_ids(IMAGE),
        pad_token_id=tokenizer.pad_token_id,
        scale_factor=_SHUFFLE,
        tie_word_embeddings=True,
    )
    network = Idefics3ForConditionalGeneration(config)
    network.generation_config = GenerationConfig(**special_ids(tokenizer))
    return Idefics3Eyes(network, made)


def processor() -> Idefics3Processor:
    """Build the processor: 10 image tokens for a 96 x 96 scene, and the words between them."""
    lines = range(1, _LINES + 1)
    places = [f"<row_{row}_col_{column}>" for row in lines for column in lines]
    words = word_tokenizer(
        {"image_token": IMAGE}, ("<fake_token_around_image>", "<end_of_utterance>", "<global-img>", *places)
    )
    images = Idefics3ImageProcessorPil(
        size={"longest_edge": SIDE},
        max_image_size={"longest_edge": TILE},
        resample=Image.Resampling.BICUBIC,
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.5, 0.5, 0.5],
    )
    tokens = (TILE // PATCH // _SHUFFLE) ** 2
    return Idefics3Processor(images, words, image_seq_len=tokens, chat_template=CHAT_TEMPLATE)
