"""Images that rows name by path: what they were when a run read them, and whether they still are.

A table's fingerprint leaves them out, so a run keeps a digest of each, by the name that rows have. Where it is asked
for again they are read again: nothing less tells a picture that was exchanged under its name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from mmpref.errors import ImageError, MmprefError, brief
from mmpref.log import counted, logger
from mmpref.run.directory import Run
from mmpref.run.inputs import refuse_changed_input, warn_unchecked
from mmpref.run.training_images import shortened
from mmpref.tables.image_cells import read_image
from mmpref.tables.image_roots import MAX_PATH, ImageRoots, coco_id
from mmpref.types import ImageData

_NAMED = "named-images"
"""Name of the facts that a run pins of them."""
_MANY = 10_000
"""Images from which on it is said that they are read again."""

Digests = Mapping[str, str]
"""Names of images as rows have them, and what `mmpref.run.training_images.shortened` makes of each; "" of one that
could not be read."""


class RecordingRoots(ImageRoots):
    """Image roots that keep the digest of every image that was asked of them; no cell that is longer than any path."""

    def __init__(self, roots: Sequence[str | Path]) -> None:
        super().__init__(roots)
        self._digests: dict[str, str] = {}

    def read(self, name: str) -> ImageData:
        try:
            image = super().read(name)
        except ImageError:
            self._keep(name, None)
            raise
        self._keep(name, image)
        return image

    def of_coco(self, name: str) -> ImageData | None:
        try:
            image = super().of_coco(name)
        except ImageError:
            self._keep(name, None)
            raise
        if coco_id(name) is not None:
            self._keep(name, image)
        return image

    def _keep(self, name: str, image: ImageData | None) -> None:
        if len(name) <= MAX_PATH:
            self._digests.setdefault(name, shortened(image.sha256) if image else "")

    def take(self) -> dict[str, str]:
        """The digests since the last call."""
        taken, self._digests = self._digests, {}
        return taken


def pin_named_images(run: Run, tables: Sequence[Digests]) -> None:
    """Keep the digests of each table's images with a run; nothing where rows hold their images themselves."""
    if any(tables):
        run.pin(_NAMED, {"tables": [dict(digests) for digests in tables]})


def named_images(run: Run) -> list[Digests]:
    """What `pin_named_images` was given; nothing of a run that does not say."""
    kept: list[Digests] = run.pinned(_NAMED).get("tables", [])
    return kept


def joined(parts: Iterable[Sequence[Digests]]) -> list[dict[str, str]]:
    """Digests of each table, out of several lists of such; of an image that changed in between, what it was first."""
    tables: list[dict[str, str]] = []
    for part in parts:
        tables += [{} for _ in range(len(part) - len(tables))]
        for table, digests in zip(tables, part, strict=False):
            table.update({name: digest for name, digest in digests.items() if name not in table})
    return tables


def refuse_changed_images(run: Path, tables: Sequence[Digests], roots: Sequence[Sequence[str | Path] | None]) -> None:
    """Not to give what was made of one picture as made of another that has its name since, nor to pass over rows whose
    images are there by now. The run is good without those that are gone; it is warned of them.

    Args:
        run: folder of the run.
        tables: the digests of each table's images when the run read them.
        roots: folders and archives of each table's images; None of one whose images are not looked at.

    Raises:
        RunError: an image has changed, or one that could not be read can be.
    """
    looked_at = [(digests, places) for digests, places in zip(tables, roots, strict=False) if digests and places]
    if (images := sum(len(digests) for digests, _ in looked_at)) >= _MANY:
        logger.info("Seeing whether %s are still what they were.", counted(images, "image"))
    for digests, places in looked_at:
        try:
            found = ImageRoots(places)
        except MmprefError as error:
            warn_unchecked(run, "the image root", str(error))
            continue
        refuse_other_images(run, digests, {name: _digest(name, found) for name in digests})


def refuse_other_images(run: Path, before: Digests, now: Digests) -> None:
    """The same of images that were read already.

    Args:
        now: has the names of ``before``; of one that it lacks nothing could be read.

    Raises:
        RunError: as `refuse_changed_images`.
    """
    now = {name: now.get(name, "") for name in before}
    changed = [name for name, digest in before.items() if digest and now[name] not in ("", digest)]
    if changed:
        more = f", and {len(changed) - 1:,} more," if len(changed) > 1 else ""
        refuse_changed_input(run, f"The image {brief(changed[0])} has changed{more}")
    if found := [name for name, digest in before.items() if now[name] and not digest]:
        more = f", and {len(found) - 1:,} more" if len(found) > 1 else ""
        refuse_changed_input(
            run, f"An image that was missing is found ({brief(found[0])}{more}), so the rows have changed"
        )
    if gone := [name for name, digest in before.items() if digest and not now[name]]:
        more = f" ({counted(len(gone), 'image')} in all)" if len(gone) > 1 else ""
        warn_unchecked(run, f"the image {brief(gone[0])}", f"it cannot be read{more}")


def _digest(name: str, roots: ImageRoots) -> str:
    try:
        return shortened(read_image(name, roots).sha256)
    except ImageError:
        return ""
