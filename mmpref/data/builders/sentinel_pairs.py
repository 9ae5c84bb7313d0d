"""SENTINEL's own pairs: next sentences without and with hallucinated objects, after a context (psp-dada/SENTINEL).

Peng et al., arXiv 2507.12455. Seven files, each made of one model's sentences, of which
``LLaVA_v1_5_7b_SENTINEL_8_6k.json`` is read; name another one by ``--source hf://datasets/psp-dada/SENTINEL/FILE``.
Those of LLaVA-1.5 are one JSON object of lists by Visual Genome's image id, of ``question``, ``context``, ``y_win``
and ``y_lose``; those of LLaVA-1.6, Qwen2-VL and Qwen2.5-VL are LLaMA-Factory's rows, with ``instruction``,
``context``, ``chosen``, ``rejected`` and ``images`` (pspdada/SENTINEL `get_llava_v15_data_pair.py`,
`get_llama_factory_data_pair.py` and `train/models/llava_utils/data.py`, as in julyanghar/SENTINEL 905c13d). Images
are ``<image id>.jpg`` of Visual Genome's ``VG_100K`` and ``VG_100K_2``: name both by ``--image-root``. Answers
continue the context, with a space between them; rows without one are pairs of first sentences.
"""

from __future__ import annotations

from collections.abc import Iterator

from mmpref.data.builders._published import Row, malformed, published, text
from mmpref.tables.cells import as_text, is_empty
from mmpref.tables.table import Origin

ORIGIN = Origin(("psp-dada/SENTINEL",), files=("LLaVA_v1_5_7b_SENTINEL_*.json",))
_CHOSEN, _REJECTED = ("y_win", "win", "chosen"), ("y_lose", "lose", "rejected")


def read(row: Row) -> Iterator[Row]:
    """One pair of a raw row."""
    context = row.get("context")
    if not is_empty(context) and not isinstance(context, str):
        raise malformed("context", "text", context)
    prompt = [{"role": "user", "content": text(row, "question" if "question" in row else "instruction")}]
    if isinstance(context, str) and context.strip():
        prompt.append({"role": "assistant", "content": f"{context} "})
    name = as_text(row.get("image_id"))
    image = next((row[column] for column in ("image_path", "images") if column in row), f"{name}.jpg")
    chosen, rejected = (next((row[name] for name in names if name in row), None) for names in (_CHOSEN, _REJECTED))
    yield {"id": name, "images": image, "prompt": prompt, "chosen": chosen, "rejected": rejected}


BUILDER = published("sentinel-pairs", ORIGIN, read)
