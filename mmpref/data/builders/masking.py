"""The paper's unguided row: whole answers from an image with nearly all tokens hidden (arXiv 2407.02477, table 6).

BDHS without the reference's guidance: the same masks, tries and similarity test, and a fresh answer in every try.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from mmpref.data.builder import Builder
from mmpref.data.builders.bdhs import BdhsWorker
from mmpref.sampling.settings import BdhsSettings


@dataclass(frozen=True)
class Settings(BdhsSettings):
    """BDHS's, unguided unless told otherwise."""

    guidance: bool = False


BUILDER = Builder(config=lambda: Settings, worker=partial(BdhsWorker, method="masking"))
