"""Scenes for a page: what the base says of an image and what an adapter says, with what is not there marked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mmpref.bench.disagreements import Disagreement, disagreements
from mmpref.bench.finished_model import FinishedModel, read_finished
from mmpref.cli.pages.html import as_png, data_url
from mmpref.errors import ImageError
from mmpref.registry import resolve_path
from mmpref.run.manifest import MANIFEST
from mmpref.run.results import ALL, Key
from mmpref.synonyms import Synonyms
from mmpref.words import spaced

if TYPE_CHECKING:
    from mmpref.study.schedule import Schedule

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


def scenes_of(schedule: Schedule) -> tuple[list[Scene], str]:
    """Scenes of the plan's first trained row on its first evaluation with CHAIR, of the first base and seed, and whose
    they are; none where the study's folder does not hold the answers."""
    from mmpref.study.targets import Target
    from mmpref.study.work import evaluation_folder

    plan = schedule.plan
    row = next((row for row in plan.rows.values() if row.train is not None), None)
    base = plan.base_of(row.name) if row else None
    if row is None or base is None:
        return [], ""
    jobs = [schedule.job(Target(name, row.bases[0], 0)) for name in (base.name, row.name)]
    for split in row.evaluate:
        folders = [
            evaluation_folder(schedule.folder, split, job.hashes[split])
            for job in jobs
            if job is not None and split in job.hashes
        ]
        if len(folders) < 2 or not all((folder / MANIFEST).is_file() for folder in folders):
            continue
        if found := scenes(folders[0], folders[1], ("base", row.name)):
            return found, f"What {row.name} changes on {split}: captions that gained, and some that lost."
    return [], ""


def scenes(base: Path, adapter: Path, names: tuple[str, str], limit: int = SHOWN) -> list[Scene]:
    """The captions that gained most, and those that lost most, of two finished evaluations with CHAIR; none of others.

    Args:
        base, adapter: folders of the evaluations.
        names: what the two are called.
    """
    first, second = (read_finished([folder])[0] for folder in (base, adapter))
    return scenes_between(first, second, names, limit)


def scenes_between(
    first: FinishedModel, second: FinishedModel, names: tuple[str, str], limit: int = SHOWN
) -> list[Scene]:
    """The same of two evaluated models, which may be of one run."""
    if CHAIR not in first.values or CHAIR not in second.values:
        return []
    found = disagreements(first, second, CHAIR, limit)
    synonyms = _synonyms(first)
    lost = found.lost[: limit // 3]
    return [_scene(row, names, synonyms) for row in [*found.won[: limit - len(lost)], *lost]]


def _synonyms(model: FinishedModel) -> Synonyms:
    """The words that its captions were searched for: without a table, the objects of the rows that it was asked."""
    path: str | None = model.manifest["recipe"]["benchmark"][CHAIR.benchmark]["synonyms"]
    if path:
        return Synonyms.read(resolve_path(path))
    references = [json.loads(record.reference) for record in model.records(CHAIR.benchmark)]
    return Synonyms.of(name for reference in references for name in reference["objects"])


def _scene(row: Disagreement, names: Sequence[str], synonyms: Synonyms) -> Scene:
    truth = [str(name) for name in json.loads(row.reference)["objects"]]
    try:
        image = data_url(as_png(row.images[0].content)) if row.images else None
    except ImageError:
        image = None
    texts = zip(names, (row.first, row.second), strict=True)
    answers = tuple((name, tuple(marked_objects(text, truth, synonyms))) for name, text in texts)
    return Scene(image, ", ".join(dict.fromkeys(truth)), answers)


def marked_objects(text: str, truth: Sequence[str], synonyms: Synonyms) -> list[tuple[str, bool]]:
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
