"""OPA-DPO's own pairs: LLaVA-1.5's answers, and GPT-4V's corrections of them (zhyang2226/OPA-DPO, on Google Drive).

Yang et al., arXiv 2501.09695. Files and columns: zhyang2226/OPA-DPO `online_generator.py` and
`make_opadpo_dataset.py` (commit db90180). Both forms are read: the JSON files of
``llava7b_online_generation_subset1/rollouts`` and the like, with ``query``, ``image_id``,
``original_generate_response``, ``AI_pseudo_response``, ``AI_json_report`` and ``image_bytes`` in base64; and what its
script saves of them to disk, with ``queries``. Chosen is the correction, rejected the answer as it was. As there,
rows without a report or a correction are left out (``no-correction``), and so are answers that repeat themselves
(``repeats-itself``). The set is not on the Hub: name those folders, or what was saved, by ``--source``.
"""

from __future__ import annotations

from collections.abc import Iterator

from mmpref.data.builders._published import Row, published, text
from mmpref.tables.messages import Unusable

_NO_REPORT = ("", '""', None)
_REPEATS = 30
"""Times that an answer's last word may come before."""


def read(row: Row) -> Iterator[Row]:
    """One pair of a raw row."""
    answer, corrected = text(row, "original_generate_response"), row.get("AI_pseudo_response")
    if not isinstance(corrected, str) or not corrected or row.get("AI_json_report") in _NO_REPORT:
        raise Unusable("no-correction")
    if _repeats(answer):
        raise Unusable("repeats-itself")
    yield {
        "id": row.get("image_id"),
        "image_bytes": row.get("image_bytes"),
        "prompt": _question(text(row, "queries" if "queries" in row else "query")),
        "chosen": corrected,
        "rejected": answer,
    }


def _question(query: str) -> str:
    """Without the opening of the answer, which the authors' script leaves behind where it takes off a template. A
    whole template is taken off by the reader of all rows."""
    return query if "USER:" in query else query.rstrip().removesuffix("ASSISTANT:").rstrip()


def _repeats(answer: str) -> bool:
    """Whether the last sentence stands in what is before it, or the last word does more than `_REPEATS` times."""
    sentences, words = answer.split("."), answer.split()
    sentence = len(sentences) > 1 and sentences[-2].strip() in ".".join(sentences[:-2])
    return sentence or (len(words) > 1 and words[:-2].count(words[-1]) > _REPEATS)


BUILDER = published("opa-dpo", read=read)
