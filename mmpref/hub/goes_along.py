"""What is published of a run that nobody may have thought of; said before anything is uploaded."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PureWindowsPath
from typing import Any

from mmpref.image_metadata import has_position, positions_told
from mmpref.log import counted, logger
from mmpref.run.training_images import TRAINING_IMAGES, read_training_images

_FREEBASE = re.compile(r"/[mg]/\w+(?:/|$)")
"""An id such as ``/m/01g317``, which Open Images has."""


def tell_what_goes_along(path: Path, manifest: Mapping[str, Any]) -> None:
    """Say of a dataset how many of its images say where they were taken, as its files are, and how many ids of rows are
    paths of some machine; of an adapter that digests of the images it was trained on go along.

    Args:
        path: of the run, or of the model that its adapter was merged into.
        manifest: of the run.
    """
    files = manifest["data"] if manifest["command"] == "build-dataset" else []  # an evaluation's are its benchmarks'
    images = [has_position(content) for entry in files for content in _images(path / entry["path"])]
    for told in positions_told(sum(images), len(images)):
        logger.warning("Warning: %s", told)
    paths = [row_id for entry in files for row_id in _ids(path / entry["path"]) if _is_path_of_a_machine(row_id)]
    if paths:
        logger.warning(
            "Warning: the ids of %s look like paths of a machine, as %s does, and stand in what is published. Where "
            "nobody is to see them give the source's rows other ids, and build the dataset again.",
            counted(len(paths), "row"),
            paths[0],
        )
    if digests := read_training_images(path / TRAINING_IMAGES):
        logger.info(
            "%s goes along, with digests of the %s that training saw: who has one of them can tell by it. Delete the "
            "file first where nobody may know.",
            TRAINING_IMAGES,
            counted(len(digests), "image"),
        )


def _ids(file: Path) -> list[str]:
    """The ids of a data file's rows; none of one that is missing."""
    import pyarrow.parquet as pq

    return pq.read_table(file, columns=["id"])["id"].to_pylist() if file.is_file() else []


def _is_path_of_a_machine(row_id: str) -> bool:
    """Whether it begins at the root of a file system, or at somebody's home."""
    on_posix = row_id.startswith(("/", "~/", "file:/")) and row_id.count("/") > 1 and not _FREEBASE.match(row_id)
    return on_posix or PureWindowsPath(row_id).is_absolute()


def _images(file: Path) -> Iterator[bytes]:
    """The encoded images of a data file, a few rows in memory at a time; none of one that is missing."""
    import pyarrow.parquet as pq

    for batch in pq.ParquetFile(file).iter_batches(batch_size=16, columns=["images"]) if file.is_file() else ():
        yield from (image["bytes"] for row in batch.column(0).to_pylist() for image in row if image["bytes"])
