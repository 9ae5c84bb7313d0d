"""CHAIR-DPO's own pairs: two answers of one model, ranked by detections (aimagelab/CHAIR-DPO_preference_datasets).

Compagnoni et al., arXiv 2508.20181. A row has LLaVA-Instruct's ``id`` and ``image``, ``conversations`` up to a
question, the reference (``target``, not read) and ``answer_1`` and ``answer_2``, which nobody has ranked: training
does, by ``detections.json`` of the repository, which lists COCO's objects of every id (aimagelab/CHAIR-DPO `train.py`
and `chair_modeling.py`, commit a649f6d). So here: chosen is the answer with the smaller share of mentions that are
not detected (chair_i, 0 where nothing is mentioned), ``margin`` the difference; words are found by `mmpref.synonyms`.
Rows of equal shares, of which the filtered file should have none, are left out (``tie``), and so are those without
detections (``no-objects``).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmpref.data.builder import Builder
from mmpref.data.builders._published import Row, SourcePairs, text
from mmpref.data.row_facts import Reader
from mmpref.errors import InputError, UsageError
from mmpref.recipes.names import names
from mmpref.registry import resolve_path
from mmpref.synonyms import Synonyms
from mmpref.tables.cells import as_text, object_names
from mmpref.tables.messages import Unusable
from mmpref.tables.table import Origin
from mmpref.text_files import read_json

ORIGIN = Origin(
    ("aimagelab/CHAIR-DPO_preference_datasets",), files=("preference_llava/filtered_train_split_preference.json",)
)


@dataclass(frozen=True)
class Settings:
    """Settings of CHAIR-DPO's pairs.

    Args:
        detections: path of the repository's ``detections.json``; needed.
        synonyms: path of the table of objects and words, such as data/synonyms.txt of CHAIR's authors; needed.
    """

    detections: str | None = field(default=None, metadata=names("path"))
    synonyms: str | None = field(default=None, metadata=names("path"))

    def __post_init__(self) -> None:
        if self.detections is None or self.synonyms is None:
            raise UsageError(
                "The pairs of chair-dpo are ranked by detections and a table of synonyms.",
                "Take detections.json of https://huggingface.co/datasets/aimagelab/CHAIR-DPO_preference_datasets and "
                "data/synonyms.txt of https://github.com/LisaAnne/Hallucination: "
                "--set builder.detections=PATH --set builder.synonyms=PATH",
            )


def detected(path: str) -> Mapping[str, Any]:
    """The objects of every image, by the row's id.

    Raises:
        InputError: no such file, or none of that form.
    """
    found = read_json(Path(resolve_path(path)))
    if not isinstance(found, Mapping):
        raise InputError(f"{path} is no JSON object of lists of objects by id.")
    return found


def _reader(settings: Settings, _seed: int) -> Reader:
    assert settings.detections is not None
    assert settings.synonyms is not None
    synonyms, seen_by_id = Synonyms.read(resolve_path(settings.synonyms)), detected(settings.detections)

    def wrong(answer: str, seen: Collection[str]) -> float:
        mentions = synonyms.objects(answer)
        return sum(name not in seen for name in mentions) / len(mentions) if mentions else 0.0

    def read(row: Row) -> Iterator[Row]:
        name, answers = as_text(row.get("id")), (text(row, "answer_1"), text(row, "answer_2"))
        seen = object_names(seen_by_id.get(name)) if name else None
        if seen is None:
            raise Unusable("no-objects")
        shown = {one for name in seen for one in synonyms.listed(name)}
        first, second = (wrong(answer, shown) for answer in answers)
        if first == second:
            raise Unusable("tie", f"chair_i of both answers is {first:.3f}")
        chosen, rejected = answers if first < second else answers[::-1]
        yield {
            "id": name,
            "image": row.get("image"),
            "prompt": row.get("conversations"),
            "chosen": chosen,
            "rejected": rejected,
            "margin": abs(first - second),
        }

    return read


BUILDER = Builder(
    config=lambda: Settings,
    worker=lambda context, _: SourcePairs("chair-dpo", context.seed),
    uses_model=False,
    needs_pairs=True,
    origin=ORIGIN,
    reader=_reader,
)
