"""What the methods share that look for the objects of answers in images, with detectors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mmpref.errors import UsageError
from mmpref.log import logger
from mmpref.recipes.names import names
from mmpref.types import Box, Example, Skip

if TYPE_CHECKING:
    from mmpref.counts import Counts
    from mmpref.judges.detectors import Detector
    from mmpref.synonyms import Synonyms


@dataclass(frozen=True)
class ObjectSettings:
    """How objects are found in answers.

    Args:
        synonyms: path of the table of objects and words, such as data/synonyms.txt of CHAIR's authors; needed.
    """

    synonyms: str | None = field(default=None, metadata=names("path"))

    def refuse_no_synonyms(self, method: str) -> None:
        """
        Raises:
            UsageError: there is no table.
        """
        if self.synonyms is None:
            raise UsageError(
                f"The method {method} needs a table of synonyms.",
                "Take data/synonyms.txt of https://github.com/LisaAnne/Hallucination, and give its path: "
                "--set builder.synonyms=PATH",
            )

    def read_synonyms(self) -> Synonyms:
        """The table."""
        from mmpref.registry import resolve_path
        from mmpref.synonyms import Synonyms

        assert self.synonyms is not None
        return Synonyms.read(resolve_path(self.synonyms))


class ListedObjects:
    """Reads what rows list of their images by the table of synonyms, as answers are read. What no line of it has is
    left out, and what is in a script without spaces between words is not found in answers: of either the first row with
    such a name is warned.

    Args:
        counts: to which ``objects_listed`` and ``objects_unknown`` are added.
    """

    def __init__(self, synonyms: Synonyms, counts: Counts) -> None:
        self._synonyms, self._counts, self._warned = synonyms, counts, set[str]()

    def __call__(self, example: Example) -> list[str]:
        """The objects of a row's list, by the table's names, sorted; none where nobody says."""
        named = {name: self._synonyms.listed(name) for name in example.objects or ()}
        unknown = [name for name, objects in named.items() if not objects]
        self._counts.add({"objects_listed": len(named), "objects_unknown": len(unknown)} if named else {})
        self._warn(
            example,
            unknown,
            "are in no line of the table of synonyms",
            "are left out, here and in other rows; report.json counts them (objects_unknown)",
        )
        self._warn(
            example,
            [name for name, objects in named.items() if objects and self._synonyms.spaced.isdisjoint(objects)],
            "are in a script that puts no spaces between words",
            "are not found within a sentence, here and in other rows: answers are split at spaces",
        )
        return sorted({one for objects in named.values() for one in objects})

    def _warn(self, example: Example, names: Sequence[str], what: str, so: str) -> None:
        if names and what not in self._warned:
            self._warned.add(what)
            listed = ", ".join(map(repr, names))
            logger.warning("Warning: row %s lists objects that %s: %s. Such %s.", example.id, what, listed, so)

    def missing(self, example: Example) -> Skip:
        """Why a row whose list gives nothing has no pair."""
        names = ", ".join(map(repr, example.objects or ()))
        return Skip(example.id, "no-objects", f"no line of the table of synonyms has {names}" if names else "")


def find(detector: Detector, wanted: Iterable[tuple[Example, Sequence[str]]]) -> list[dict[str, list[list[Box]]]]:
    """Where a detector finds things: of each example, for every name its boxes in each of the images.

    Args:
        detector: one that a worker has opened: it keeps the model that it has loaded.
    """
    from mmpref.judges.detectors import Search

    asked = [(example, tuple(looked_for)) for example, looked_for in wanted]
    searches = [Search(image, looked_for) for example, looked_for in asked for image in example.images if looked_for]
    found = iter(detector.detect(searches) if searches else [])
    results: list[dict[str, list[list[Box]]]] = []
    for example, looked_for in asked:
        of_images = [next(found) for _ in example.images] if looked_for else []
        results.append({name: [boxes[name] for boxes in of_images] for name in looked_for})
    return results
