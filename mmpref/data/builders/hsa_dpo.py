"""HSA-DPO: LLaVA-1.5's answers, rewritten where fine-grained feedback found hallucinations (WenyiXiao/HSA-DPO).

Xiao et al., arXiv 2404.14233. A line of ``hsa_dpo_preference_llava1dot5.jsonl`` has ``id``, ``question``, ``chosen``
and ``rejected``, and may have ``chosen_score`` and ``rejected_score``; its image is ``<id>.jpg`` of
``hsa_dpo_imgs.tar.gz``, which is to be unpacked for ``--image-root`` (Mr-Loevan/HSA-DPO `train_dpo.py`, commit
dbb76cd). ``rejected_score`` is how grave the rejected answer's hallucinations are (``severity``), by which HSA-DPO's
own loss weighs it; ``chosen_score``, which that leaves out by default, is not read.
"""

from __future__ import annotations

from collections.abc import Iterator

from mmpref.data.builders._published import Row, malformed, published
from mmpref.tables.cells import as_text, is_null
from mmpref.tables.table import Origin

ORIGIN = Origin(("WenyiXiao/HSA-DPO",), files=("hsa_dpo_preference_llava1dot5.jsonl",))


def read(row: Row) -> Iterator[Row]:
    """One pair of a raw row."""
    if is_null(name := row.get("id")) or (stem := as_text(name)) is None:
        raise malformed("id", "a number or text", name)
    yield {
        "id": stem,
        "image": f"{stem}.jpg",
        "prompt": row.get("question"),
        "chosen": row.get("chosen"),
        "rejected": row.get("rejected"),
        "severity": row.get("rejected_score"),
    }


BUILDER = published("hsa-dpo", ORIGIN, read)
