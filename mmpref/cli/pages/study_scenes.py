"""Scenes for a study's page: what the base says of an image and what an adapter says, with what is not there marked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mmpref.bench.disagreements import Disagreement, disagreements
from mmpref.bench.finished_model import FinishedModel, read_finished
from mmpref.bench.scoring.chair import Synonyms
from mmpref.cli.pages.html import as_png, data_url
from mmpref.errors import ImageError
from mmpref.registry import resolve_path
from mmpref.run.results import ALL, Key
from mmpref.words import spaced

SHOWN = 6
CHAIR = Key("chair", "chair_i", ALL)


@dataclass(frozen=True)
class Scene:
    """An image with two answers.

    Args:
        image: a data URL; None where it cannot be read any more.
        truth: what is in it.
        answers: name of a model, and its answer in pieces, each with whether it is of something that is not there.
    """

    image: str | None
    truth: str
    answers: tuple[tuple[str, tuple[tuple[str, bool], ...]], ...]


def scenes(base: Path, adapter: Path, names: tuple[str, str], limit: int = SHOWN) -> list[Scene]:
    """The captions that gained most, and those that lost most, of two finished evaluations with CHAIR; none of others.

    Args:
        base, adapter: folders of the evaluations.
        names: what the two are called.
    """
    first, second = (read_finished([folder])[0] for folder in (base, adapter))
    if CHAIR not in first.values or CHAIR not in second.values:
        return []
    found = disagreements(first, second, CHAIR, limit)
    synonyms = Synonyms.read(resolve_path(_synonyms(first)))
    lost = found.lost[: limit // 3]
    return [_scene(row, names, synonyms) for row in [*found.won[: limit - len(lost)], *lost]]


def _synonyms(model: FinishedModel) -> str:
    settings: dict[str, str] = model.manifest["recipe"]["benchmark"][CHAIR.benchmark]
    return settings["synonyms"]


def _scene(row: Disagreement, names: Sequence[str], synonyms: Synonyms) -> Scene:
    truth = [str(name) for name in json.loads(row.reference)["objects"]]
    try:
        image = data_url(as_png(row.image.content)) if row.image else None
    except ImageError:
        image = None
    texts = zip(names, (row.first, row.second), strict=True)
    answers = tuple((name, tuple(_marked(text, truth, synonyms))) for name, text in texts)
    return Scene(image, ", ".join(dict.fromkeys(truth)), answers)


def _marked(text: str, truth: Sequence[str], synonyms: Synonyms) -> list[tuple[str, bool]]:
    """A caption in pieces, each with whether it names something that is not there; joined they are the text."""
    words, pieces, place = spaced(text), [], 0
    while place < len(words):
        pair = words[place : place + 2]
        two = len(pair) == 2 and " ".join(synonyms.words("".join(pair))[:2]) in synonyms.double
        piece = "".join(pair) if two else words[place]
        wrong = bool(set(synonyms.objects(piece)) - set(truth))
        core = piece.rstrip()
        trail = core[len(core.rstrip(".,;:!?")) :] + piece[len(core) :]
        named = piece[: len(piece) - len(trail)]
        pieces += [(part, bad) for part, bad in ((named, wrong), (trail, False)) if part]
        place += 2 if two else 1
    return pieces
