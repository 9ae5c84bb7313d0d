"""Preprocessors that end or refuse in their process, in a module that a worker process imports at once."""

from __future__ import annotations

import os
import signal
from typing import Any

import numpy as np

from mmpref.errors import ChatTemplateError, ImageError
from mmpref.vlm.preprocess import PromptPreprocessor


class Deadly(PromptPreprocessor):
    """Ends its process on images of 13 rows, as a fault in a decoder written in C would; on those of 14 the system
    kills it, and on those of 15 memory is short."""

    def prepare(self, messages: Any, images: Any) -> Any:
        heights = {image.height for image in images}
        if 13 in heights:
            os._exit(1)
        if 14 in heights:
            os.kill(os.getpid(), signal.SIGKILL)
        if 15 in heights:
            np.empty(2**57)
        return super().prepare(messages, images)


class Picky(Deadly):
    """Takes no image of 400 columns either, and no system text."""

    def prepare(self, messages: Any, images: Any) -> Any:
        if messages[0].role == "system":
            raise ChatTemplateError("the model's chat template refuses it: System role not supported.")
        if any(image.width == 400 for image in images):
            raise ImageError("an image of 400 x 1 pixels is none for this model.")
        return super().prepare(messages, images)
