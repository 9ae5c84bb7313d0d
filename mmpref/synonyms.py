"""Objects and the words for them, as CHAIR finds them in captions: its double words, plurals, and tables of synonyms.

Rule and the 55 double words: LisaAnne/Hallucination `utils/chair.py` (commit 6e4d33c, BSD licence of the authors for
code; only the word lists, which define the metric, are repeated here). "train track" is such a word, so tracks are no
train; "stove top oven" is in the list and, having three words, never matches.

Two deviations, because the original's `pattern.en` does not install on current Pythons and nltk's tokenizer needs a
download: plurals are made singular by `inflect`, and only where the word itself is in no list; and words are split
where nltk's `word_tokenize` splits them (clitics too: "man's" is "man" and "'s"), but a full stop before a space
always ends its word, abbreviations included. A table of synonyms comes from a file of the original's format: one line
an object, its name first, synonyms behind it.
"""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from mmpref.errors import InputError
from mmpref.text_files import read_text

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

        Args:
            refined: as Object HalBench reads its table: entries lose the spaces around them, and those of several
                words are the double words. CHAIR leaves them as they are, leading spaces included.

        Raises:
            InputError: no such file, or no object in it.
        """
        if not Path(path).is_file():
            raise InputError(
                f"There is no table of synonyms at {path}.", "Take data/synonyms.txt of the CHAIR authors' repository."
            )
        lines = [line.strip().split(", ") for line in read_text(Path(path)).split("\n")]
        node = {word: words[0] for words in lines if words[0] for word in words}
        if not node:
            raise InputError(f"{path} names no object.")
        if not refined:
            return cls(node)
        node = {word.strip(): name.strip() for word, name in node.items()}
        return cls(node, _double_words([*(word for word in node if " " in word), "home plate", "train track"]))

    @classmethod
    def of(cls, names: Iterable[str]) -> Synonyms:
        """The table of these objects, each known by its own name alone, of one word or two; plurals are one with their
        singular."""
        node: dict[str, str] = {}
        for name in sorted(names):
            plain = " ".join(map(singular, name.split()))
            node[name] = node[plain] = plain
        own = {word: name for word, name in node.items() if word.count(" ") == 1}
        return cls(node, {**DOUBLE_WORDS, **own})

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
        known = self.node.get(name) or self.node.get(name.strip().lower())
        return [known] if known else self.objects(name)

    def _singular(self, word: str) -> str:
        if word in self.node or not word.isalpha():
            return word
        return singular(word)


class ListedObjects:
    """Reads lists of what images show by a table (`Synonyms.listed`), and keeps what no line of it has. Such a name is
    left out: captions are not searched for it, so that it could never be found.

    Args:
        table: path of the table of synonyms.
    """

    def __init__(self, synonyms: Synonyms, table: str) -> None:
        self._synonyms, self._table = synonyms, Path(table).name
        self._names, self._unknown, self._first = 0, Counter[str](), -1

    def __call__(self, names: Iterable[str], row: int) -> list[str]:
        """The objects that the names of a row stand for, in order."""
        objects: list[str] = []
        for name in names:
            self._names += 1
            known = self._synonyms.listed(name)
            objects += known
            if not known:
                self._first = row if not self._unknown else self._first
                self._unknown[name] += 1
        return objects

    def remarks(self, benchmark: str) -> tuple[str, ...]:
        """What results must say: how many names are left out, and which; nothing where all are known.

        Raises:
            InputError: more than half of them are, so that numbers would be of another thing.
        """
        if not self._unknown:
            return ()
        count, names = self._unknown.total(), sorted(self._unknown, key=lambda name: -self._unknown[name])
        shown = ", ".join(repr(name[:40]) for name in names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
        told = (
            f"{benchmark}: {count} of {self._names} objects that the rows list are in no line of the table of synonyms "
            f"{self._table} ({len(names)} different: {shown}; first: row {self._first})"
        )
        if 2 * count > self._names:
            raise InputError(
                f"{told}: it is no table of these data.",
                "Give it a line for each (its name first, synonyms behind it), or take the table of your data.",
            )
        return (f"{told}. Captions are not searched for them, and recall leaves them out.",)


def _words(caption: str) -> list[str]:
    """Lower-case words as nltk's treebank rules split them: punctuation and clitics apart, hyphens and slashes not."""
    return _CLITIC.sub(r" \1", _APART.sub(r" \g<0> ", caption.lower())).split()


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


@cache
def singular(word: str) -> str:
    """A noun's singular; a word that is none, or already singular, as it is."""
    noun = _engine().singular_noun(word)
    return noun if isinstance(noun, str) and not word.endswith("ss") else word
