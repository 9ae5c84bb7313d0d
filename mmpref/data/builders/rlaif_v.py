"""RLAIF-V: a model's own answers, ranked by an open model's scoring of their claims (openbmb/RLAIF-V-Dataset).

Yu et al., arXiv 2405.17220. Three published shapes are read: flat ``question``, ``chosen``, ``rejected`` (openbmb), and
conversational ``images``, ``prompt``, ``chosen``, ``rejected`` (HuggingFaceH4/rlaif-v_formatted, trl-lib/rlaif-v). Both
answers of a pair are by the same model. The flat set holds the pairs of every iteration of LLaVA-1.5-7B, OmniLMM-12B
and MiniCPM-V (RLHF-V/RLAIF-V, README at 36e436f): the model is ``chosen_model``. No column says which iteration a row
is of; who knows a file's takes it by ``--source hf://datasets/openbmb/RLAIF-V-Dataset/FILE``.
"""

from __future__ import annotations

from collections.abc import Iterator

from mmpref.data.builders._published import Row, published, writer
from mmpref.tables.table import Origin

ORIGIN = Origin(("openbmb/RLAIF-V-Dataset", "HuggingFaceH4/rlaif-v_formatted", "trl-lib/rlaif-v"))


def read(row: Row) -> Iterator[Row]:
    """One pair of a raw row."""
    if "question" in row:
        model = writer(row)
        yield {
            "id": row.get("idx"),
            "image": row.get("image"),
            "image_path": row.get("image_path"),
            "prompt": row.get("question"),
            "chosen": row.get("chosen"),
            "rejected": row.get("rejected"),
            "source": row.get("origin_dataset"),
            "chosen_model": model,
            "rejected_model": model,
        }
    else:
        yield row


BUILDER = published("rlaif-v", ORIGIN, read)
