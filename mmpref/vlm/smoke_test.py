"""A model is tried on one picture when it is loaded: its defects are told then, and never blamed on rows.

Nothing is generated. The picture is small, goes through the vision tower once, and what the decoder would be given is
looked at; the decoder itself runs, on a few tokens, where an adapter has to show that it does something.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from mmpref.distributed import is_model_sharded
from mmpref.errors import ImageError, ModelError, is_out_of_memory, reason_of
from mmpref.log import logger
from mmpref.types import Message
from mmpref.vlm import processors
from mmpref.vlm.attention import Attention
from mmpref.vlm.chat_template import QUESTION
from mmpref.vlm.encode import encode
from mmpref.vlm.preprocess import Inputs

if TYPE_CHECKING:
    from PIL import Image

    from mmpref.vlm.policy import Policy

_PROMPT = (Message("user", QUESTION),)
_SIZES = ((96, 64), (60, 84))
"""Of the picture, and of a second one where a processor was mended: tiles and paddings go by the shape."""
_IMAGE_TOKENS, _EMBEDDINGS = 16, 8192
_FAULTS = (
    RuntimeError,
    ValueError,
    TypeError,
    IndexError,
    KeyError,
    AttributeError,
    NotImplementedError,
    ZeroDivisionError,
    AssertionError,
)


def picture(size: tuple[int, int] = _SIZES[0], seed: int = 0) -> Image.Image:
    """Noise, RGB, of so many pixels in width and height; the same for the same seed."""
    import numpy as np
    from PIL import Image

    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def run_smoke_test(policy: Policy) -> None:
    """Ask about one picture, up to the decoder. What the processor has wrong and the model knows better is
    mended, and noted in `Policy.mended`.

    Raises:
        ModelError: processor, chat template, tokenizer and model do not fit together.
    """
    policy.mended = processors.fill_missing(policy.processor, policy.base_model.config)
    inputs = _prepared(policy)
    try:
        # Divided among processes, weights lie about in pieces; and `mmpref.vlm.verify` tries more than this.
        if policy.family.tested and not is_model_sharded():
            _check_features(policy, inputs)
    except _FAULTS as error:
        if is_out_of_memory(error):
            raise
        repaired = _repaired(policy)
        if not repaired:
            raise ModelError(
                f"{policy.ref} and its processor do not fit together: {reason_of(error).rstrip('.')}.",
                "Compare processor_config.json and preprocessor_config.json with config.json (patch_size, "
                "num_additional_image_tokens, vision_feature_select_strategy, sizes).",
            ) from error
        policy.mended |= repaired
    processors.warn_repaired(policy.mended, str(policy.ref))
    _begin_with_bos(policy)


def _prepared(policy: Policy, size: tuple[int, int] = _SIZES[0]) -> Inputs:
    """The prompt, with image tokens in it and none that the model does not know."""
    try:
        inputs = policy.prompter.prepare(_PROMPT, [picture(size)])
    except (ImageError, *_FAULTS) as error:
        cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
        raise _no_image_token(policy, reason_of(cause)) from error
    ids = inputs["input_ids"]
    if not (ids == policy.image_token_id).any():
        raise _no_image_token(policy, "no image token comes out of it")
    vocab_size = policy.base_model.config.get_text_config().vocab_size
    if int(ids[ids != policy.image_token_id].max()) >= vocab_size:
        raise ModelError(
            f"The tokenizer of {policy.ref} writes token {int(ids.max())}, and its model knows {vocab_size}.",
            "Use the tokenizer that was saved with the model, or resize its embeddings.",
        )
    return inputs


def _no_image_token(policy: Policy, reason: str) -> ModelError:
    """Whose fault it is that a prompt with a picture could not be made, or has no image token."""
    prompt, tokenizer = policy.prompter.render(_PROMPT, 1), policy.tokenizer
    token = tokenizer.convert_ids_to_tokens(policy.image_token_id)
    image_token = str(getattr(policy.processor, "image_token", token))
    if image_token not in prompt and str(token) not in prompt:
        return ModelError(
            f"The chat template of {policy.ref} writes no {image_token} where a picture stands.",
            "Save the chat_template.jinja with it that was made for this very model.",
        )
    ids = tokenizer(image_token, add_special_tokens=False)["input_ids"]
    if len(ids) != 1 or ids == [tokenizer.unk_token_id]:
        return ModelError(
            f"The tokenizer of {policy.ref} does not know the image token {image_token}.",
            "Use the processor and tokenizer that were saved with the model.",
        )
    return ModelError(
        f"The processor of {policy.ref} does not prepare a picture: {reason.rstrip('.')}.",
        "Use the processor that was saved with the model.",
    )


def _check_features(policy: Policy, inputs: Inputs) -> None:
    """The picture's features, one for every image token and each of them a number.

    Raises:
        ModelError: they are not numbers.
        Exception: whatever a model raises that is given something else than it expects.
    """
    [encoded] = encode(policy, [inputs])
    if not encoded.embeds.isfinite().all():
        raise ModelError(
            f"{policy.ref} makes no numbers of a picture (in {str(policy.dtype).removeprefix('torch.')}).",
            "Use another --dtype, float32 or bfloat16; or its weights are damaged.",
        )


def _repaired(policy: Policy) -> dict[str, Any]:
    """The first of some changes to the processor with which two pictures of other shapes fit; none if none does."""
    for change in processors.candidate_repairs(policy.processor, policy.base_model.config):
        before = {name: getattr(policy.processor, name) for name in change}
        processors.set_attributes(policy.processor, change)
        try:
            for size in _SIZES:
                _check_features(policy, _prepared(policy, size))
        except (*_FAULTS, ModelError):
            processors.set_attributes(policy.processor, before)
        else:
            return {name: value for name, value in change.items() if before[name] != value}
    return {}


def _begin_with_bos(policy: Policy) -> None:
    """Let the chat template write the BOS token that the processor puts in front by itself, and that is left out where
    prompt and answer are tokenised apart."""
    processor, bos = policy.processor, policy.tokenizer.bos_token_id
    prompt = policy.prompter.render(_PROMPT, 1)
    apart, whole = (
        processor(text=[prompt], images=[[picture()]], return_tensors="pt", **settings)["input_ids"][0].tolist()
        for settings in ({"add_special_tokens": False}, {})
    )
    if bos is not None and bos not in apart and whole == [bos, *apart]:
        logger.info(
            "Prompt format: the chat template of %s writes no %s; it is put in front, as its tokenizer does.",
            policy.ref,
            policy.tokenizer.bos_token,
        )
        processor.chat_template = policy.tokenizer.chat_template = "{{ bos_token }}" + processor.chat_template
        policy.mended["chat_template"] = "bos_token in front"


@torch.inference_mode()
def adapter_changes_nothing(policy: Policy) -> bool:
    """Whether a model is the same with its adapter and without: what the decoder is given of a picture, what it makes
    of that, and the embedding of every token. Any kind of adapter shows in one of these, to the last bit.

    Raises:
        ModelError: what the adapter makes are no numbers.
    """
    inputs = policy.prompter.prepare(_PROMPT, [picture()])

    def outputs() -> list[torch.Tensor]:
        [encoded] = encode(policy, [inputs])
        few = encoded.drop(torch.arange(encoded.image_tokens) < _IMAGE_TOKENS, "original")
        hidden, _ = Attention(policy).prefill([few], [()])
        return [encoded.embeds, *encoded.deepstack, hidden, policy.base_model.get_output_embeddings()(hidden)]

    adapted = outputs()
    if not all(part.isfinite().all() for part in adapted):
        raise ModelError(
            f"With the adapter, {policy.ref} makes no numbers of a picture.",
            "Its training has diverged, or its weights are damaged.",
        )
    with policy.without_adapter():
        base = outputs()
    if not all(map(torch.equal, adapted, base)):
        return False
    for ids in torch.arange(policy.base_model.config.get_text_config().vocab_size, device=policy.device).split(
        _EMBEDDINGS
    ):
        tokens = policy.embed(ids)
        with policy.without_adapter():
            if not torch.equal(tokens, policy.embed(ids)):
                return False
    return True
