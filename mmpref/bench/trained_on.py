"""Images that an adapter was trained on say little of it: whether an evaluation asks about some."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence

from mmpref.bench.benchmark import Sample
from mmpref.image_metadata import without_metadata
from mmpref.log import counted, warn
from mmpref.origins.revisions import training_images_of
from mmpref.run.asked import Asked
from mmpref.run.training_images import shortened
from mmpref.types import ImageData, ModelRef


def mark_trained_on(
    asked: Mapping[str, Asked], samples: Mapping[str, Sequence[Sample]], ref: ModelRef
) -> dict[str, Asked]:
    """What is evaluated, with `Asked.trained_on` and a remark where the adapter was trained on images that are asked
    about; a warning says so.

    Args:
        samples: of each that is evaluated.
        ref: the adapter, at the commit that is evaluated. One that does not come with the digests of its images is left
            as it is.
    """
    assert ref.adapter is not None
    trained = training_images_of(ref.adapter, ref.adapter_revision)
    if not trained:
        return dict(asked)
    marked = {}
    for label, of in asked.items():
        shared, images = shared_images(trained, samples[label])
        if shared:
            remark = (
                f"{label}: {shared:,} of its {counted(images, 'image')} are among those that the adapter was "
                "trained on: its values there may be too good. Build pairs without them (`build-dataset "
                "--exclude-images-of`), or report on other images."
            )
            warn(remark)
            of = dataclasses.replace(of, trained_on=shared, remarks=(*of.remarks, remark))
        marked[label] = of
    return marked


def shared_images(trained: Collection[str], samples: Sequence[Sample]) -> tuple[int, int]:
    """How many of the images that are asked about are among those of a training; and how many there are.

    Args:
        trained: digests of the training's (`mmpref.origins.revisions.training_images_of`).
    """
    images = {image.sha256: image for sample in samples for image in sample.images if image.content}
    return sum(_is_among(trained, image) for image in images.values()), len(images)


def _is_among(trained: Collection[str], image: ImageData) -> bool:
    """Whether an image is, as it is or as a build with ``strip_metadata`` has it."""
    stripped = without_metadata(image.content)
    return any(shortened(each.sha256) in trained for each in (image, *([ImageData(stripped)] if stripped else ())))
