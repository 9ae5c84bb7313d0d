"""Who finds named objects in images: open-vocabulary detectors of transformers, by id, or a plugin with ``detect``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from mmpref.errors import ModelError, reason_of
from mmpref.images import decode
from mmpref.judges.plugins import annotator_plugin
from mmpref.types import Box, ImageData

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True)
class Search:
    """What is looked for in an image."""

    image: ImageData
    names: tuple[str, ...]


class Detector(Protocol):
    """Somebody who finds objects."""

    def detect(self, searches: Sequence[Search]) -> list[dict[str, list[Box]]]:
        """Of each search, for every name the boxes of what is found, the surest first; none where there is nothing.

        Raises:
            ModelError: it cannot be loaded.
        """
        ...


class TransformersDetector:
    """A detector that `AutoModelForZeroShotObjectDetection` loads: Grounding DINO, OWL-ViT, OWLv2 and their kin. Each
    name is looked for by itself: beside longer ones it would be padded, and its boxes might move. What counts as found
    is the threshold of the processor's own ``post_process_grounded_object_detection``.

    Args:
        spec: ``ID``, ``ID@REVISION`` or a folder.
    """

    def __init__(self, spec: str) -> None:
        self._spec = spec

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        import torch
        from transformers import AutoModelForZeroShotObjectDetection, AutoProcessor

        from mmpref.hub_cache import cache_first
        from mmpref.origins.revisions import commit_of, ref_of
        from mmpref.registry import resolve_path
        from mmpref.vlm.load_errors import load_errors

        ref = ref_of(self._spec)
        with load_errors(f"detector {self._spec}"):
            commit, name = commit_of(ref.model, ref.revision), resolve_path(ref.model)
            with cache_first(ref.model, commit):
                processor = AutoProcessor.from_pretrained(name, revision=commit)
                model = AutoModelForZeroShotObjectDetection.from_pretrained(name, revision=commit)
        return processor, model.to("cuda" if torch.cuda.is_available() else "cpu").eval()

    def detect(self, searches: Sequence[Search]) -> list[dict[str, list[Box]]]:
        found: list[dict[str, list[Box]]] = []
        for search in searches:
            picture = decode(search.image)
            found.append({name: self._find(picture, name) for name in search.names})
        return found

    def _find(self, picture: Image.Image, name: str) -> list[Box]:
        import torch

        processor, model = self._loaded
        try:
            # OWL's processors pad to a length of their own.
            padding = {} if "owl" in model.config.model_type else {"padding": True}
            inputs = processor(images=[picture], text=[[name]], return_tensors="pt", **padding).to(model.device)
            with torch.inference_mode():
                outputs = model(**inputs)
            [result] = processor.post_process_grounded_object_detection(
                outputs, target_sizes=[(picture.height, picture.width)]
            )
        except (TypeError, AttributeError, ValueError) as error:  # of a model of another kind
            raise ModelError(
                f"The detector {self._spec} cannot be asked for names: {reason_of(error)[:200]}.",
                "Use one of AutoModelForZeroShotObjectDetection, such as IDEA-Research/grounding-dino-base.",
            ) from error
        return _sorted_boxes(result, picture)


def _sorted_boxes(result: dict[str, Any], picture: Image.Image) -> list[Box]:
    order = result["scores"].argsort(descending=True, stable=True)
    sides = (picture.width, picture.height)
    boxes: list[Box] = []
    for box in result["boxes"][order].tolist():
        left, top, right, bottom = (min(1.0, max(0.0, value / sides[axis % 2])) for axis, value in enumerate(box))
        boxes.append((left, top, right, bottom))
    return boxes


def open_detector(spec: str) -> Detector:
    """A detector by a word: a plugin of ``mmpref list annotators`` that detects, or a model's id or folder.

    Raises:
        UsageError: a plugin that does not detect.
    """
    detector: Detector | None = annotator_plugin(spec, "detect")
    return detector or TransformersDetector(spec)
