"""The paper that a method is from, as the first line of its module names it, and its entry for a bibliography."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from mmpref.hub.cards.markdown import fence
from mmpref.hub.cards.render import method_name, summary_of

STUDY = "2407.02477"
"""The arXiv id of the study that all cards name, whose entry the templates have."""


def paper_of(manifest: Mapping[str, Any]) -> str:
    """The arXiv id that the first line of a run's method names; "" where it names none."""
    found = re.search(r"arXiv (\d{4}\.\d{4,5})", summary_of(manifest["command"], method_name(manifest)))
    return found[1] if found else ""


def paper_link(arxiv_id: str) -> str:
    return f"[arXiv {arxiv_id}](https://arxiv.org/abs/{arxiv_id})"


def bibtex(arxiv_id: str) -> str:
    """An entry in a code block; "" of the study, or where there is no id. It names no authors: a bibliography that
    reads ``eprint`` has them from arXiv."""
    if arxiv_id in ("", STUDY):
        return ""
    lines = (f"eprint={{{arxiv_id}}}", "archivePrefix={arXiv}", f"url={{https://arxiv.org/abs/{arxiv_id}}}")
    return fence(f"@misc{{arXiv{arxiv_id},\n  " + ",\n  ".join(lines) + "\n}", "bibtex")
