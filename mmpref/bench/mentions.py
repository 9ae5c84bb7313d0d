"""Which words of an answer name things, and which of these the reference does not: hallucinated, *by reference*.

With a table of synonyms (CHAIR's format) a mention is an object of that table. Without one there is no tagger to find
nouns by, so a mention is a content word of the references: one that those of at least `_FEW` pictures hold, and of at
most half of them, and that is no English function word. Colours and actions are counted then too.

**Limits.** What a reference leaves out counts as hallucinated, so references should be exhaustive, or rows should name
their objects (``objects``, or ``gt_object``). Words that mean the same are the same by a table of synonyms only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import regex

from mmpref.sampling.bias_probe import Mention
from mmpref.synonyms import Synonyms, singular
from mmpref.words import folded

_FEW = 3
_WORD = regex.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")
"""Letters with their accents and vowel signs, which `re` takes for no part of a word where they are characters."""
_SHORTEST = 3
_FUNCTION_WORDS = """
    about above across after all along also among and another any are around away back because been before behind
    being below beneath beside between beyond both but can center centre could did does down during each either else
    few first for from front had has have he her here him his how image into inside its itself just last left less
    like may might more most much near next nor not off one only onto onward other our out outside over own part
    photo picture right scene second see seen several shall she should shown shows side since some such than that
    the their them then there these they third this those though through too top toward towards two under until upon
    various very was were what when where which while who whose why will with within without would yes you your
    three four five six seven eight nine ten
"""

Mentions = Callable[[str], list[Mention]]
"""The mentions of a text, in order."""


def hallucinated(
    mentions: Mentions, answer: str, reference: str, objects: Iterable[str] = ()
) -> tuple[list[Mention], int]:
    """The answer's mentions that neither the reference nor the objects name, each name once, where it comes first; and
    how many names there are in all.

    Args:
        objects: that the image holds, as far as the row says.
    """
    true = {mention.name for text in (reference, *objects) for mention in mentions(text)}
    true |= {folded(name) for name in objects}
    first: dict[str, Mention] = {}
    for mention in mentions(answer):
        first.setdefault(mention.name, mention)
    return [mention for name, mention in first.items() if name not in true], len(first)


def by_synonyms(synonyms: Synonyms) -> Mentions:
    """Objects of a table, by CHAIR's rule: plurals are singular, and two words can be one (`mmpref.synonyms`)."""

    def mentions(text: str) -> list[Mention]:
        words = [(match.start(), match.end(), synonyms.words(match[0])[0]) for match in _WORD.finditer(text)]
        found, place = [], 0
        while place < len(words):
            begin, end, name = words[place]
            after = words[place + 1] if place + 1 < len(words) else (0, 0, "")
            pair = synonyms.double.get(f"{name} {after[2]}") if text[end : after[0]].isspace() else None
            if pair:
                end, name = after[1], pair
            if name in synonyms.node:
                found.append(Mention(begin, end, synonyms.node[name]))
            place += 2 if pair else 1
        return found

    return mentions


def by_references(references: Sequence[str]) -> Mentions:
    """Content words that several of the references hold, and not most of them.

    Args:
        references: one a picture.
    """
    held = Counter(name for reference in references for name in {name for _, _, name in _words(reference)})
    content = {name for name, rows in held.items() if _FEW <= rows <= max(_FEW, len(references) / 2)}

    def mentions(text: str) -> list[Mention]:
        return [Mention(begin, end, name) for begin, end, name in _words(text) if name in content]

    return mentions


def _words(text: str) -> list[tuple[int, int, str]]:
    function_words = _FUNCTION_WORDS.split()
    words = [(match.start(), match.end(), folded(match[0])) for match in _WORD.finditer(text)]
    return [
        (begin, end, singular(word))
        for begin, end, word in words
        if len(word) >= _SHORTEST and word not in function_words
    ]
