"""POVID-style distortion: what the model would say, token by token, of a noisy image after the chosen words.

arXiv 2407.02477, section 3.3 and appendix E.1, after Zhou et al., 2024 (arXiv 2402.11411). Every token of the rejected
answer is the most probable one given the noisy image and the *chosen* tokens before it, so that one forward writes it
and it is as long as the chosen answer. Known weakness: nonsense inside words of several tokens.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import torch

from mmpref.images import decode
from mmpref.rng import stream
from mmpref.sampling.logprobs import answer_logits, own_tokens
from mmpref.types import Example, ImageData
from mmpref.vlm.encode import EncodedPrompt, encode
from mmpref.vlm.noise import diffuse
from mmpref.vlm.preprocess import Inputs

if TYPE_CHECKING:
    import numpy as np

    from mmpref.vlm.policy import Policy

Space = Literal["tensor", "pixel"]


class Distortion:
    """Draws distorted answers from a policy; the same object serves datasets and training.

    Args:
        noise_steps: N of 1000 diffusion steps.
        space: ``tensor`` noises the normalised pixel values (the paper's form); ``pixel`` noises pixels in [0, 1]
            before preprocessing and lets values outside wrap around, as POVID's released code does.
        prepare: renders and preprocesses an example, by default the policy's own way; not used for ``pixel``.
    """

    def __init__(
        self,
        policy: Policy,
        noise_steps: int,
        space: Space,
        seed: int,
        prepare: Callable[[Example], Inputs] | None = None,
    ) -> None:
        self._policy, self._noise_steps, self._space, self._seed = policy, noise_steps, space, seed
        self._prepare = prepare or policy.prompter

    def __call__(self, examples: Sequence[Example]) -> list[str]:
        """A distorted answer for each example, as many tokens as its chosen answer has."""
        policy, prompts = self._policy, self._encode(examples)
        chosen = [own_tokens(policy, example.prompt, len(example.images), example.answer) for example in examples]
        return self._likeliest(prompts, chosen)

    def _encode(self, examples: Sequence[Example]) -> list[EncodedPrompt]:
        generators = [stream(self._seed, example.id, 1, "noise") for example in examples]
        if self._space == "tensor":
            return encode(
                self._policy, [self._prepare(example) for example in examples], (self._noise_steps, generators)
            )
        distorted = [
            replace(
                example, images=tuple(_add_pixel_noise(image, self._noise_steps, generator) for image in example.images)
            )
            for example, generator in zip(examples, generators, strict=True)
        ]
        return encode(self._policy, [self._policy.prompter(example) for example in distorted])

    @torch.inference_mode()
    def _likeliest(self, prompts: Sequence[EncodedPrompt], answers: Sequence[tuple[list[int], int]]) -> list[str]:
        policy, texts = self._policy, []
        predicted = answer_logits(policy, prompts, [ids for ids, _ in answers])
        for all_logits, (_, first) in zip(predicted, answers, strict=True):
            logits = all_logits[first:]  # before the answer stands what the prompt format writes
            logits[:, sorted({*policy.suppressed_ids, *policy.eos_ids})] = -torch.inf
            text: str = policy.tokenizer.decode(logits.argmax(-1).tolist(), skip_special_tokens=True)
            texts.append(text.strip())
        return texts


def _add_pixel_noise(image: ImageData, steps: int, generator: np.random.Generator) -> ImageData:
    """An image after diffusion of its pixels in [0, 1], values outside wrapped around as torch's ``byte`` does."""
    import numpy as np
    from PIL import Image

    pixels = torch.from_numpy(np.asarray(decode(image), dtype=np.float32) / 255)
    wrapped = (diffuse(pixels, steps, generator) * 255).to(torch.int64).remainder(256).to(torch.uint8)
    buffer = io.BytesIO()
    Image.fromarray(wrapped.numpy()).save(buffer, "PNG")
    return ImageData(buffer.getvalue(), image.name)
