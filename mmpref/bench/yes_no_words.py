"""Yes and no in the words of one's own data: labels and answers in another language, brought to the words that a
benchmark's rule reads.

The rule itself stays the official one. An answer is given to it with ``Yes`` and ``No`` (in lower case where the answer
has them so) in the place of the own words, wherever they stand as whole words, marks left as they are, and all other
letters made ``x``: what is a word for no in English, such as Portuguese *no* (in the), says nothing then.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

import regex

from mmpref.bench.benchmark import QuestionSettings, QuestionTask
from mmpref.bench.cells import choice_cell
from mmpref.errors import UsageError
from mmpref.recipes.schema import OPTIONAL, TEXT
from mmpref.words import folded, is_unspaced

_FEWEST = 10
"""Labels that are all the same by no accident."""
_MARKS = str.maketrans({"。": ".", "，": ",", "、": ","})
"""Full stop and commas of scripts without spaces."""


@dataclass(frozen=True)
class YesNoSettings(QuestionSettings):
    """Of a benchmark of yes/no questions.

    Args:
        yes_words, no_words: of your own data in another language, what its labels and answers say for yes and for no: a
            word or several, such as ``ja`` and ``[nein, kein]``. The English words say nothing then, unless they are
            named too.
    """

    yes_words: str | tuple[str, ...] | None = field(default=None, metadata=OPTIONAL | TEXT, kw_only=True)
    no_words: str | tuple[str, ...] | None = field(default=None, metadata=OPTIONAL | TEXT, kw_only=True)


Y = TypeVar("Y", bound=YesNoSettings)


class YesNoTask(QuestionTask[Y]):
    """What tasks with `YesNoSettings` begin with.

    Raises:
        UsageError: words for only one of yes and no, the same for both, or of no own data.
    """

    name: ClassVar[str]
    """The benchmark's, for messages."""

    def __init__(self, settings: Y) -> None:
        super().__init__(settings)
        self._words = _words(self.name, settings)
        self._pattern = _pattern(self._words) if self._words else None
        self.labels: Counter[str] = Counter()
        """How many samples each is the label of."""

    def truth(self, row: Mapping[str, Any], column: str, where: str) -> str:
        """``yes`` or ``no``: the label of a row.

        Raises:
            InputError: it says neither.
        """
        hint = "" if self._words else f"In another language? Name its words: {setting_of(self.name)}."
        label = choice_cell(row, column, where, ("yes", "no"), self._words, hint)
        self.labels[label] += 1
        return label

    def in_english(self, answer: str) -> str:
        """An answer as the benchmark's rule reads it; without own words it is as it was."""
        if self._pattern is None:
            return answer
        text = unicodedata.normalize("NFC", answer).translate(_MARKS)
        return self._pattern.sub(self._english, text).strip()

    def _english(self, match: regex.Match[str]) -> str:
        said = self._words.get(folded(match[0]))
        if said is None:
            return "x"
        word = said.capitalize() if match[0][0].isupper() or is_unspaced(match[0]) else said
        return f" {word} " if is_unspaced(match[0]) else word


def remarks_on_labels(task: object, cut: bool) -> list[str]:
    """What must be said where all labels of a benchmark are the same; nothing of few, or of another benchmark.

    Args:
        cut: there are more rows than were read.
    """
    if not isinstance(task, YesNoTask) or len(task.labels) != 1 or task.labels.total() < _FEWEST:
        return []
    [(label, count)] = task.labels.items()
    return [
        f"All {count:,} labels of {task.name} are {label!r}{' as far as rows were asked' if cut else ''}: whoever "
        "always says so is always right, and no metric of these questions tells who looks at the image. Ask as many "
        "of the other answer."
    ]


def setting_of(name: str) -> str:
    """The settings of a benchmark that name the words, as they are typed."""
    return f"--set benchmark.{name}.yes_words=WORD --set benchmark.{name}.no_words=WORD"


def _words(name: str, settings: YesNoSettings) -> dict[str, str]:
    """Word, folded -> ``yes`` or ``no``; empty where no own words are given."""
    given = {"yes": settings.yes_words, "no": settings.no_words}
    named = {
        said: [folded(word).strip() for word in ((words,) if isinstance(words, str) else words or ()) if word.strip()]
        for said, words in given.items()
    }
    if all(words is None for words in given.values()):
        return {}
    if settings.data is None:
        raise UsageError(
            f"yes_words and no_words are for your own data, and {name} is asked of its published ones, in English.",
            f"Name yours: --set benchmark.{name}.data=FILE.",
        )
    if missing := [said for said, words in named.items() if not words]:
        hint = f"Give both: {setting_of(name)}."
        raise UsageError(f"{name} has no word for {missing[0]}: yes_words and no_words belong together.", hint)
    if both := {*named["yes"]} & {*named["no"]}:
        raise UsageError(f"{min(both)!r} is in yes_words and in no_words of {name}.", "It can say only one of them.")
    return {word: said for said, words in named.items() for word in words}


def _pattern(words: Iterable[str]) -> regex.Pattern[str]:
    """Finds own words, the longest first (in Chinese, *not is* holds *is*), and any other letter or digit."""
    longest = sorted(words, key=len, reverse=True)
    own = [regex.escape(word) if is_unspaced(word) else rf"\b{regex.escape(word)}\b" for word in longest]
    return regex.compile("|".join([*own, r"\w"]), regex.IGNORECASE)
