"""Keeps the pairs of preference data as they are: one source, or the union of several.

A source is any that has ``chosen`` and ``rejected``: mmpref's own datasets and TRL's, LLaMA-Factory's, and the like.
What its rows say of their making goes along (source, models, margin; of mmpref's own also method, similarity, tries and
the second rejected answer). Published sets of other shapes are built by the method of their name first.
"""

from __future__ import annotations

from mmpref.data.builders._published import published

BUILDER = published("mix")
