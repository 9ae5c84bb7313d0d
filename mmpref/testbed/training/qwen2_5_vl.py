"""A small Qwen2.5-VL: the picture at its own size, windows of one cell in all layers of the tower but the last, four
patches merged to a token, and positions of image tokens by height and width."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import GenerationConfig, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLProcessor
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.video_processing_utils import VideoProcessorMixin

from mmpref.testbed.render import SIDE
from mmpref.testbed.training.build import (
    PATCH,
    ROTATION,
    SIZES,
    TILE,
    Size,
    chat_template,
    special_ids,
    text_settings,
    word_tokenizer,
)
from mmpref.testbed.training.eyes import CELLS, Eyes, scaled

_MERGE, _FRAMES = 2, 2
_NAMED = {
    "image_token": "<|image_pad|>",
    "video_token": "<|video_pad|>",
    "vision_start_token": "<|vision_start|>",
    "vision_end_token": "<|vision_end|>",
}


class Qwen25VlEyes(Eyes):
    """Nine tokens, one a cell; nothing shows the whole picture by itself."""

    gist = False

    @property
    def width(self) -> int:
        return int(self.model.config.vision_config.hidden_size)

    @property
    def language(self) -> nn.Module:
        return self.model.model.language_model

    @property
    def projector(self) -> nn.Module:
        return self.model.model.visual.merger

    @property
    def tower(self) -> Iterable[nn.Parameter]:
        named = self.model.model.visual.named_parameters()
        return [parameter for name, parameter in named if not name.startswith("merger.")]

    def inputs(self, pictures: Sequence[np.ndarray]) -> torch.Tensor:
        """float32 (pictures, 36, 1536): of each cell four patches, a patch's channels, twice the same frame."""
        side, patches = SIDE // TILE, TILE // PATCH
        values = scaled(self.processor.image_processor, np.stack(pictures))
        cut = values.reshape(-1, side, patches, PATCH, side, patches, PATCH, 3).transpose(0, 1, 4, 2, 5, 7, 3, 6)
        frames = np.repeat(cut[:, :, :, :, :, :, None], _FRAMES, axis=6)
        return torch.from_numpy(frames.reshape(len(values), CELLS * self.patches, -1).copy())

    def hidden(self, inputs: torch.Tensor) -> torch.Tensor:
        made = self.model.model.visual(inputs.flatten(0, 1), grid_thw=self._grid(len(inputs))).last_hidden_state
        return made.view(len(inputs), CELLS, self.patches, -1)

    def project(self, hidden: torch.Tensor) -> torch.Tensor:
        merged = self.projector(hidden.flatten(0, 2))
        return merged.view(*hidden.shape[:2], self.tokens, -1)

    def order(self) -> torch.Tensor:
        return torch.arange(CELLS)

    def positions(self, inputs: Any) -> torch.Tensor:
        ids = inputs["input_ids"]
        kinds = (ids == self.image_token).int()
        placed, _ = self.model.model.get_rope_index(ids, kinds, image_grid_thw=self._grid(len(ids)))
        return placed

    @staticmethod
    def _grid(pictures: int) -> torch.Tensor:
        return torch.tensor([[1, SIDE // PATCH, SIDE // PATCH]]).expand(pictures, -1)


def eyes(size: Size = SIZES["0.5M"]) -> Qwen25VlEyes:
    """An untrained model; weights come from torch's global generator."""
    made = processor()
    tokenizer = made.tokenizer
    frequencies = size.language // 4 // 2  # of a head: a half for time, a quarter each for height and width
    config = Qwen2_5_VLConfig(
        vision_config={
            "hidden_size": size.tower,
            "out_hidden_size": size.language,
            "intermediate_size": 3 * size.tower,
            "depth": size.tower_layers,
            "num_heads": 4,
            "patch_size": PATCH,
            "spatial_merge_size": _MERGE,
            "temporal_patch_size": _FRAMES,
            "window_size": TILE,
            "fullatt_block_indexes": [size.tower_layers - 1],
        },
        text_config={
            **text_settings(tokenizer, size),
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": ROTATION,
                "mrope_section": [frequencies - 2 * (frequencies // 4), frequencies // 4, frequencies // 4],
            },
        },
        tie_word_embeddings=True,
        **{f"{name}_id": tokenizer.convert_tokens_to_ids(token) for name, token in _NAMED.items()},
    )
    network = Qwen2_5_VLForConditionalGeneration(config)
    network.generation_config = GenerationConfig(**special_ids(tokenizer))
    return Qwen25VlEyes(network, made)


class _NoVideo(VideoProcessorMixin):
    """Stands where the processor demands a video processor, which cannot be made without torchvision."""


class _ImagesOnly(Qwen2_5_VLProcessor):
    def check_argument_for_proper_class(self, argument_name: str, argument: Any) -> type:
        return type(argument)


def processor() -> Qwen2_5_VLProcessor:
    """Build the processor: 9 image tokens for a 96 x 96 scene."""
    images = Qwen2VLImageProcessorPil(
        patch_size=PATCH,
        merge_size=_MERGE,
        temporal_patch_size=_FRAMES,
        size={"shortest_edge": TILE * TILE, "longest_edge": SIDE * SIDE},
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.5, 0.5, 0.5],
    )
    template = chat_template("<|vision_start|><|image_pad|><|vision_end|>")
    return _ImagesOnly(images, word_tokenizer(_NAMED), _NoVideo(), chat_template=template)
