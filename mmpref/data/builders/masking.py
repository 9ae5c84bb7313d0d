"""The paper's unguided row: whole answers from an image with nearly all tokens hidden (arXiv 2407.02477, table 6).

BDHS without the reference's guidance: the same masks, tries and similarity test, and a fresh answer in every try.
"""

from __future__ import annotations

from functools import cache, partial
from typing import TYPE_CHECKING

from mmpref.data.builder import Builder
from mmpref.data.builders.bdhs import BdhsWorker

if TYPE_CHECKING:
    from mmpref.sampling.bdhs import BdhsSettings


@cache
def _settings() -> type[BdhsSettings]:
    from dataclasses import dataclass

    from mmpref.sampling.bdhs import BdhsSettings

    @dataclass(frozen=True)
    class MaskingSettings(BdhsSettings):
        """BDHS's, unguided unless told otherwise."""

        guidance: bool = False

    return MaskingSettings


BUILDER = Builder(config=_settings, worker=partial(BdhsWorker, method="masking"))
