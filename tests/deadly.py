"""Work for processes of their own, which ends some of them as a fault in a decoder written in C would."""

from __future__ import annotations

import os

from mmpref.images import Look, look_at
from mmpref.types import ImageData

DEADLY_HEIGHT = 13


def look(images: tuple[ImageData, ...]) -> tuple[Look, ...]:
    """As `look_at`; the process ends at images of `DEADLY_HEIGHT` rows."""
    looks = look_at(images)
    if any(look.size[1] == DEADLY_HEIGHT for look in looks):
        os._exit(1)
    return looks
