"""Images under noise: forward diffusion of normalised pixel values, as processors lay them out (arXiv 2407.02477)."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import torch

from mmpref.errors import ModelError, UsageError

if TYPE_CHECKING:
    import numpy as np

DIFFUSION_STEPS = 1000


def add_noise(pixels: torch.Tensor, steps: int, generator: np.random.Generator, processor: Any) -> torch.Tensor:
    """Preprocessed images after diffusion of the values that the vision tower sees; every copy of a pixel has the same
    noise.

    Processors of families that also take films (Qwen-VL, GLM-V) show a still image as a film of ``temporal_patch_size``
    equal frames. Under noise of its own each, the model would see their mean, in which the noise is weaker. Others
    (Gemma 4) leave values at 0 to 1, and the model makes them -1 to 1 itself: on the former, noise is twice as strong.

    Args:
        pixels: ``pixel_values`` as the processor gives them: of any shape, or with several frames flattened patches
            [n, channels * frames * patch * patch].
        steps: N of T = 1000; 0 leaves the images as they are.

    Raises:
        UsageError: N outside 0..1000.
        ModelError: several frames that do not lie in the patches in this way, or values of an unknown range.
    """
    images = getattr(processor, "image_processor", None)
    if steps == 0 or getattr(images, "do_normalize", None) is not False:
        return _on_all_frames(pixels, steps, generator, images)
    if getattr(images, "do_rescale", None) is False:
        raise ModelError(
            f"{type(images).__name__} neither scales nor normalises pixel values: how much noise is how strong to this "
            "model is not known.",
            "Use a method without image noise.",
        )
    return (_on_all_frames(2 * pixels - 1, steps, generator, images) + 1) / 2


def _on_all_frames(pixels: torch.Tensor, steps: int, generator: np.random.Generator, images: Any) -> torch.Tensor:
    """`diffuse`, with the same noise on each frame of an image.

    Args:
        images: the image processor.
    """
    frames = getattr(images, "temporal_patch_size", None) or 1
    if frames == 1 or steps == 0:
        return diffuse(pixels, steps, generator)
    size = getattr(images, "patch_size", None)
    patches = None
    if isinstance(size, int) and pixels.dim() == 2 and pixels.shape[1] % (frames * size * size) == 0:
        patches = pixels.reshape(len(pixels), -1, frames, size, size)
    if patches is None or not torch.equal(patches, patches[:, :, :1].expand_as(patches)):
        raise ModelError(
            f"{type(images).__name__} makes images of {frames} frames each, in an order that mmpref does not know: it "
            "cannot put the same noise on all of them.",
            "Use a method without image noise.",
        )
    once = diffuse(patches[:, :, :1], steps, generator)
    return once.expand_as(patches).reshape(pixels.shape)


@cache
def _signal_shares() -> np.ndarray:
    import numpy as np

    k = np.arange(1, DIFFUSION_STEPS + 1)
    beta = (0.5e-2 - 1e-5) / (1 + np.exp(-(-6 + 12 * k / DIFFUSION_STEPS))) + 1e-5
    shares: np.ndarray = np.cumprod(1 - beta)
    return shares


def diffuse(pixels: torch.Tensor, steps: int, generator: np.random.Generator) -> torch.Tensor:
    """Forward diffusion of normalised pixel values in closed form: sqrt(a) x + sqrt(1 - a) eps (eq. 9).

    Args:
        pixels: float tensor of any shape.
        steps: N of T = 1000; 0 leaves the image as it is.

    Raises:
        UsageError: N outside 0..1000.
    """
    if not 0 <= steps <= DIFFUSION_STEPS:
        raise UsageError(f"noise_steps is {steps}; it must lie between 0 and {DIFFUSION_STEPS}.")
    if steps == 0:
        return pixels
    share = float(_signal_shares()[steps - 1])
    noise = torch.from_numpy(generator.standard_normal(tuple(pixels.shape), dtype="float32"))
    return share**0.5 * pixels + (1 - share) ** 0.5 * noise.to(pixels)
