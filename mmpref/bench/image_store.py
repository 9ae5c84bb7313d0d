"""Samples whose images wait on disk, each image once, in a file that vanishes with its process."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mmpref.bench.benchmark import Sample
from mmpref.types import ImageData


@dataclass(frozen=True)
class _Span:
    """Where an image lies in the file, and its name."""

    start: int
    size: int
    name: str


class ImageStore:
    """Gives samples back in their order, in batches, with their images.

    Args:
        samples: with their images, which are written to a file in the system's folder for such files (``$TMPDIR``).
    """

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._samples: list[tuple[Sample, list[_Span]]] = []
        self._file = tempfile.TemporaryFile(prefix="mmpref-")  # noqa: SIM115 - it is open for as long as the store is
        starts: dict[bytes, int] = {}
        for sample in samples:
            spans = []
            for image in sample.images:
                digest = image.sha256
                if digest not in starts:
                    starts[digest] = self._file.tell()
                    self._file.write(image.content)
                spans.append(_Span(starts[digest], len(image.content), image.name))
            self._samples.append((dataclasses.replace(sample, image=None, further_images=()), spans))
        self._file.flush()

    def batches(self, size: int) -> Iterator[list[Sample]]:
        """All samples with their images, so many at a time."""
        for start in range(0, len(self._samples), size):
            yield [self._whole(sample, spans) for sample, spans in self._samples[start : start + size]]

    def _whole(self, sample: Sample, spans: Sequence[_Span]) -> Sample:
        if not spans:
            return sample
        image, *further = map(self._image, spans)
        return dataclasses.replace(sample, image=image, further_images=tuple(further))

    def _image(self, span: _Span) -> ImageData:
        self._file.seek(span.start)
        return ImageData(self._file.read(span.size), span.name)
