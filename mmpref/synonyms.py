"""Objects and the words for them, as CHAIR finds them in captions: its double words, plurals, and tables of synonyms.

Rule and the 55 double words: LisaAnne/Hallucination `utils/chair.py` (commit 6e4d33c, BSD licence of the authors for
code; only the word lists, which define the metric, are repeated here). "train track" is such a word, so tracks are no
train; "stove top oven" is in the list and, having three words, never matches.

Two deviations, because the original's `pattern.en` does not install on current Pythons and nltk's tokenizer needs a
download: plurals are made singular by `inflect`, and only where the word itself is in no list; and words are split
where nltk's `word_tokenize` splits them (clitics too: "man's" is "man" and "'s"), but a full stop before a space
always ends its word, abbreviations included. A table of synonyms comes from a file of the original's format: one line
an object, its name first, synonyms behind it. The authors' own is read as they read it, a name of two words that is no
double word of theirs and one with a capital never being found; in any other both are. Letters are compared composed
(NFC), however a text writes their accents.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from mmpref.errors import InputError, brief, row_at
from mmpref.log import warn
from mmpref.text_files import read_text
from mmpref.words import folded, is_unspaced

_DOUBLE = (
    "motor bike",
    "motor cycle",
    "air plane",
    "traffic light",
    "street light",
    "traffic signal",
    "stop light",
    "fire hydrant",
    "stop sign",
    "parking meter",
    "suit case",
    "sports ball",
    "baseball bat",
    "baseball glove",
    "tennis racket",
    "wine glass",
    "hot dog",
    "cell phone",
    "mobile phone",
    "teddy bear",
    "hair drier",
    "potted plant",
    "bow tie",
    "laptop computer",
    "stove top oven",
    "home plate",
    "train track",
)
_ANIMALS = (
    "bird",
    "cat",
    "dog",
    "horse",
    "sheep",
    "cow",
    "elephant",
    "bear",
    "zebra",
    "giraffe",
    "animal",
    "cub",
)
_APART = re.compile(
    r"""\.{2,}|--|(?<!\S)'(?=\w)|[;@#$%&?!*()\[\]{}<>"“”«»‘’„—`]|[:,](?!\d)|\.(?=[\])}>"'»”’ ]*(?:\s|$))"""
)
COCO = "b685537b36fe21b791c87151b96a991ceb582edff19f3da204dcc7a7905502f2"
"""SHA-256 of the table of CHAIR's authors: data/synonyms.txt at 6e4d33c of LisaAnne/Hallucination."""
REFINED = "681041d2958d7871ed6fa69c3108f34aa6a0a354eb53ed4c5a425e65f86bc72a"
"""Of Object HalBench's: eval/data/synonyms_refine.txt of RLHF-V/RLAIF-V."""
_SHOWN = 5
"""Names that a remark gives."""
_CLITIC = re.compile(r"(?<=[^'\s])(n't|'(?:s|m|d|ll|re|ve)?)(?=\s|$)")


def _double_words(pairs: Iterable[str] = _DOUBLE) -> dict[str, str]:
    words = {word: word for word in pairs}
    words |= {f"{age} {animal}": animal for animal in _ANIMALS for age in ("baby", "adult")}
    words |= {f"passenger {vehicle}": vehicle for vehicle in ("jet", "train")}
    return words | {"bow tie": "tie", "toilet seat": "toilet", "wine glas": "wine glass"}


DOUBLE_WORDS = _double_words()


@dataclass(frozen=True)
class Synonyms:
    """Objects and the words for them.

    Args:
        node: word -> object.
        double: two words that are one -> what they count as.
    """

    node: Mapping[str, str]
    double: Mapping[str, str] = field(default_factory=lambda: DOUBLE_WORDS)

    @classmethod
    def read(cls, path: str, refined: bool = False) -> Synonyms:
        """Read a file of the original's format.

        Names are found in any case, and those of two words as double words. The authors' own tables (`COCO`, `REFINED`)
        are read as the authors do: of CHAIR's, entries stay as they are, leading spaces included, and its list alone
        has the double words.

        Args:
            refined: as Object HalBench reads its table: the double words are those of the table.

        Raises:
            InputError: no such file, no object in it, or one without a name of one word or two.
        """
        if not Path(path).is_file():
            raise InputError(
                f"There is no table of synonyms at {path}.", "Take data/synonyms.txt of the CHAIR authors' repository."
            )
        text = unicodedata.normalize("NFC", read_text(Path(path)))
        lines = [line.strip().split(", ") for line in text.split("\n")]
        digest = hashlib.sha256(text.encode()).hexdigest()
        own = digest != (REFINED if refined else COCO)
        if own:
            lines = [[plain for word in words if (plain := _plain(word))] for words in lines]
        node = {word: words[0] for words in lines if words and words[0] for word in words}
        if not node:
            raise InputError(f"{path} names no object.")
        _warn_of_joined(path, lines)
        if not own and not refined:
            return cls(node)
        if own and not refined:
            _refuse_longer(path, lines)
        node = {word.strip(): name.strip() for word, name in node.items()}
        return cls._with_double_words(node, _double_words(("home plate", "train track")) if refined else DOUBLE_WORDS)

    @classmethod
    def _with_double_words(cls, node: Mapping[str, str], double: Mapping[str, str]) -> Synonyms:
        """Names of two words are double words, too, found as captions have them: singular."""
        plain = cls(node)
        pairs = {name: plain.words(name) for name in node}
        own = {" ".join(words): name for name, words in reversed(pairs.items()) if len(words) == 2}
        own |= {pair: pair for pair in own if pair in node}
        new = {pair: name for pair, name in own.items() if node.get(double.get(pair, "")) != node[name]}
        return cls(node, {**double, **new})

    @classmethod
    def of(cls, names: Iterable[str]) -> Synonyms:
        """The table of these objects, each known by its own name alone, of one word or two. Plurals are one with their
        singular, and go by it where it is among the names: what `singular` makes of a "bus" is no name to show."""
        own = sorted({_plain(name) for name in names})
        plain = {name: " ".join(map(singular, name.split())) for name in own}
        shown = {name: plain[name] if plain[name] in plain else name for name in own}
        node = {plain[name]: shown[name] for name in reversed(own)} | shown
        return cls._with_double_words(node, DOUBLE_WORDS)

    @cached_property
    def spaced(self) -> frozenset[str]:
        """The objects that captions can mention: with a word of a script that puts spaces between words."""
        return frozenset(name for word, name in self.node.items() if not is_unspaced(word))

    def words(self, text: str) -> list[str]:
        """The words of a text, in lower case and singular."""
        return [self._singular(word) for word in _words(text)]

    def objects(self, caption: str) -> list[str]:
        """The objects that a caption mentions, one entry a mention, in order."""
        words, merged, i = self.words(caption), [], 0
        while i < len(words):
            pair = " ".join(words[i : i + 2])
            known = self.double.get(pair)
            merged.append(known or words[i])
            i += 2 if known else 1
        if "toilet" in merged and "seat" in merged:
            merged = [word for word in merged if word != "seat"]
        return [self.node[word] for word in merged if word in self.node]

    def listed(self, name: str) -> list[str]:
        """The objects that a name in a list of what an image shows stands for: as the table has it, or else as captions
        are read; none where no line has it."""
        known = self.node.get(name) or self.node.get(_plain(name))
        return [known] if known else self.objects(name)

    def _singular(self, word: str) -> str:
        if word in self.node or not word.isalpha():
            return word
        return singular(word)


class ListedObjects:
    """Reads lists of what images show by a table (`Synonyms.listed`), and keeps what captions cannot say of it: names
    that no line has, which are left out, and those in scripts that put no spaces between words (`Synonyms.spaced`).

    Args:
        table: path of the table of synonyms.
    """

    def __init__(self, synonyms: Synonyms, table: str) -> None:
        self._synonyms, self._table = synonyms, Path(table).name
        self._names, self._unknown, self._unspaced = 0, _Told(), _Told()

    def __call__(self, names: Iterable[str], row: int) -> list[str]:
        """The objects that the names of a row stand for, in order."""
        objects: list[str] = []
        for name in names:
            self._names += 1
            known = self._synonyms.listed(name)
            objects += known
            if not known:
                self._unknown.add(name, row)
            elif self._synonyms.spaced.isdisjoint(known):
                self._unspaced.add(name, row)
        return objects

    def remarks(self, benchmark: str) -> tuple[str, ...]:
        """What results must say: how many names captions cannot be searched for, and which; nothing where there is no
        such name.

        Raises:
            InputError: these are more than half of them, so that numbers would be of another thing.
        """
        remarks = []
        if self._unknown.count:
            told = self._told(benchmark, self._unknown, f"are in no line of the table of synonyms {self._table}")
            if self._too_many(self._unknown):
                raise InputError(
                    f"{told}: it is no table of these data.",
                    "Give it a line for each (its name first, synonyms behind it), or take the table of your data.",
                )
            remarks.append(f"{told}. Captions are not searched for them, and recall leaves them out.")
        if self._unspaced.count:
            told = self._told(benchmark, self._unspaced, "are in a script that puts no spaces between words")
            why = "captions are split at spaces, so that such names are not found within a sentence"
            if self._too_many(self._unspaced):
                raise InputError(
                    f"{told}: {why}.",
                    "Ask in a language that puts spaces between words, with a table of synonyms that has its words.",
                )
            remarks.append(f"{told}: {why}, and count as not mentioned.")
        return tuple(remarks)

    def _told(self, benchmark: str, names: _Told, what: str) -> str:
        return f"{benchmark}: {names.count} of {self._names} objects that the rows list {what} ({names})"

    def _too_many(self, names: _Told) -> bool:
        return 2 * names.count > self._names


class _Told:
    """Names that rows list, by how often, and the first row that has one."""

    def __init__(self) -> None:
        self._names, self._first = Counter[str](), -1

    def add(self, name: str, row: int) -> None:
        self._first = self._first if self._names else row
        self._names[name] += 1

    @property
    def count(self) -> int:
        return self._names.total()

    def __str__(self) -> str:
        names = sorted(self._names, key=lambda name: -self._names[name])
        shown = ", ".join(repr(name[:40]) for name in names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
        return f"{len(names)} different: {shown}; first: {row_at(self._first)}"


def is_long(name: str) -> bool:
    """Whether captions cannot be searched for a name: split as they are, it has more than two words."""
    return len(_words(name)) > 2


def _plain(name: str) -> str:
    """A name as captions have it, but for plurals: in lower case, one space between words, no comma behind."""
    return " ".join(folded(name).strip(", ").split())


def _words(caption: str) -> list[str]:
    """Folded words as nltk's treebank rules split them: punctuation and clitics apart, hyphens and slashes not."""
    return _CLITIC.sub(r" \1", _APART.sub(r" \g<0> ", folded(caption))).split()


@cache
def _engine() -> Any:
    with _unchecked():
        import inflect
    return inflect.engine()


@contextlib.contextmanager
def _unchecked() -> Iterator[None]:
    """Within it typeguard leaves what is imported as it is. It would write checks of arguments into every method of
    inflect, which takes longer than to find the objects of a thousand captions."""
    try:
        import typeguard
    except ImportError:  # it is inflect's own dependency, and need not stay one
        yield
        return
    typechecked = typeguard.typechecked
    typeguard.typechecked = lambda target: target  # type: ignore[assignment]
    try:
        yield
    finally:
        typeguard.typechecked = typechecked


def _warn_of_joined(path: str, lines: Iterable[Sequence[str]]) -> None:
    """Of words with a comma in them, which are no words: the original splits at a comma and a space."""
    joined = [(number, word) for number, words in enumerate(lines, 1) for word in words if "," in word.strip(", ")]
    if joined:
        number, word = joined[0]
        more = f", and {len(joined) - 1:,} more" if len(joined) > 1 else ""
        warn(
            f"{path}, line {number}: {brief(repr(word), 60)} is taken as one word{more}: words are split at a comma "
            "and a space, as the original does. Put a space behind each comma."
        )


def _refuse_longer(path: str, lines: Iterable[Sequence[str]]) -> None:
    """
    Raises:
        InputError: an object with long names alone. Of those that have another one it is warned.
    """
    told = []
    for number, words in enumerate(lines, 1):
        long = [word for word in words if is_long(word) and "," not in word]
        if words and long == [*words]:
            raise InputError(
                f"{path}, line {number}: {brief(repr(words[0]), 60)} has no name of one word or two, and captions are "
                "searched for no others.",
                "Give it a shorter one, behind a comma and a space.",
            )
        told += [(number, word) for word in long]
    if told:
        (number, word), more = told[0], f", and {len(told) - 1:,} more" if len(told) > 1 else ""
        warn(
            f"{path}, line {number}: {brief(repr(word), 60)} has more than two words{more}: captions are searched "
            "for no such names."
        )


@cache
def singular(word: str) -> str:
    """A noun's singular; a word that is none, or already singular, as it is."""
    noun = _engine().singular_noun(word)
    return noun if isinstance(noun, str) and not word.endswith("ss") else word
