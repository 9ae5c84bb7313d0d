"""The grammar of verdicts: which number, response, or yes and no a judge's reply names; anything else is None.

A number is digits with boundaries, within its scale: ``10`` holds no 1, ``60 %`` no 6, and ``3-4`` is no number. It may
have the scale behind it (``5/6``, ``5 out of 6``), Markdown and brackets around it, and full-width characters. It is a
verdict where it is labelled as one: ``Rating: 5``, ``Rating (0-6): 5``, ``The score is 5``, a heading and then the
number alone, an XML element, or a field of a JSON object. Of several the last one counts, or the last that is called
final; not where the reply offers them as alternatives or repeats the scale.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

_WIDE = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {0x3000: " ", 0xA0: " ", 0x200B: "", 0xFEFF: ""}
_MARKS = re.compile(r"[*_`#](?!\d)|(?<!\d)[*_`#]")  # but none that holds two numbers apart
_BOXED = re.compile(r"\\boxed\s*\{([^{}]*)\}")
_NUMBER = r"\d+(?:\.\d+)?"
_WHOLE = r"(?![\w+±*#`]|[.,:]\d)"
_VALUE = re.compile(
    rf"(?P<value>{_NUMBER}){_WHOLE}(?:[\s)\]]*(?:points?\s*)?\(?(?:/|out of)\s*(?P<top>{_NUMBER}){_WHOLE})?"
    r"""[)\]}"'”]*(?!\s*(?:%|percent\b|per cent\b))(?!\s*(?:[-–—/~→,;|\\&]>?|or\b|to\b|and\b)\s*\d)""",
    re.I | re.A,
)
_NO_VALUE_BEFORE = re.compile(
    r"\s*(?:would|could|might|if|unless)\b|\s*(?:\w+\s+)?(?:hallucination|error|mistake|fault|flaw|issue|problem)s?\b"
    r"|\s*points?\s+(?:are\s+|is\s+|was\s+|were\s+)?(?:deducted|off|less|lost)\b",
    re.I,
)
"""What makes a number in front of it a condition, or a count of something."""
_SCALE = re.compile(
    rf"[\s,(]*(?:on\s+(?:a|the)\s+scale\s+(?:of|from)\s*{_NUMBER}\s*(?:to|[-–—])|of(?:\s+the)?)\s*(?P<top>{_NUMBER})?",
    re.I,
)
_ALONE = re.compile(r"[ \t]*(?:$|[\r\n.,;:|(–—-]|(?:because|since|as)\b|points?[ \t]*(?:$|[\r\n.,;:]))", re.I)
"""What may stand behind a number that is a verdict by itself."""
_OPEN = r"""[\[({"'“\s]*"""
_NAMED_BEFORE = frozenset(
    ("the", "a", "an", "my", "this", "its", "final", "overall", "total", "so", "thus", "therefore", "and")
)
_ALTERNATIVES = re.compile(r"(?:\W|\b(?:or|and|to|vs|versus|either)\b)*", re.I)
_QUOTES_THE_SCALE = 4
"""Different labelled values from which on a reply repeats the scale."""
_OBJECTS = 50
"""JSON objects that are looked for in a reply."""


@dataclass(frozen=True)
class _Label:
    """A labelled place in a reply.

    Args:
        value: what stands there; None where it is no value of the scale.
        final: it is called final or overall.
        first: nothing stands before it on its line.
    """

    start: int
    end: int
    value: float | str | None
    final: bool = False
    first: bool = False


def plain(reply: str) -> str:
    """A reply without Markdown's marks, and with full-width characters as their narrow ones."""
    return _MARKS.sub("", _BOXED.sub(r"\1", reply.translate(_WIDE)))


def number(reply: str, low: float, high: float, labels: Sequence[str] = ("rating", "score")) -> float | None:
    """The labelled number of a scale.

    Args:
        labels: what it may be called; the first that the reply has counts.
    """
    text = _elements(labels).sub(lambda match: f"{match[1]}: ", plain(reply))
    for label in labels:
        fields, rest = _fields(text, (label, f"final{label}", f"overall{label}"))
        matches = [_Label(start, end, _value(_field_text(value), low, high)) for start, end, value in fields]
        matches += _colons(rest, label, low, high)
        if not matches:
            matches = _is(rest, label, low, high)
        if matches:
            return _number(_verdict(sorted(matches, key=lambda match: match.start), text))
    return None


def leading(reply: str, low: float, high: float) -> float | None:
    """The number that a reply begins with; none is that of a numbered list, or of what words behind it count."""
    text = plain(reply).lstrip(" \t\r\n|:")
    match = _VALUE.match(text)
    if match is None or re.match(r"\d+\.\s+\S", text) or not _ALONE.match(text, match.end()):
        return None
    return _value(text, low, high)


def pair(reply: str, low: float, high: float, labels: Sequence[str]) -> tuple[float, float] | None:
    """Two numbers that are the whole first line, or each labelled with its own label, such as ``Assistant 1``."""
    text = plain(reply).strip()
    words = text.split("\n")[0].replace(",", " ").split()
    numbers = [re.fullmatch(rf"(\d+(?:\.\d*)?|\.\d+)(?:/0*{high:g})?", word, re.A) for word in words]
    if len(numbers) == 2 and numbers[0] and numbers[1]:
        first, second = float(numbers[0][1]), float(numbers[1][1])
        return (first, second) if low <= first <= high and low <= second <= high else None
    left, right = (_labelled_alone(text, label, low, high) for label in labels)
    return None if left is None or right is None else (left, right)


def choice(reply: str) -> int | None:
    """Which of two responses a reply names: ``Better: Response N``, nothing but ``Response N``, a JSON field
    ``better`` or ``winner``; None where it offers both."""
    text = plain(reply).replace('"', "").replace("'", "")
    if bare := re.fullmatch(r"response\s*([12])[.!]?", text.strip(), re.I | re.A):
        return int(bare[1])
    labels = []
    for match in _CHOICE.finditer(text):
        first = _is_first(text, match.start())
        response = match["named"] or match["alone"] or match["line"]
        if response or first:
            labels.append(_Label(match.start(), match.end(), response, first=first))
    verdict = _verdict(labels, text) if labels else None
    return int(verdict) if verdict in ("1", "2") else None


_NO_OTHER = r"(?![\w]|[.,:]\d|\s*(?:/|&|,|=|≈|~|or\b|and\b)\s*(?:response\s*)?[12]\b)"
_CHOICE = re.compile(
    r"(?<!\bneither is )(?<!\bneither response is )"
    r"\b(?:better|winner)\s*(?:response|one|answer)?\s*(?:is|[:=])\s*[\[({]*\s*"
    rf"(?:(?:response|answer)\s*(?P<named>[12]){_NO_OTHER}|(?P<alone>[12]){_NO_OTHER}(?=[\])}}\s]*(?:[.!,;]|$))|)"
    r"|^\W*response\s*(?P<line>[12])\s+is\s+(?:the\s+)?better(?:\s+(?:one|response))?\W*$",
    re.I | re.A | re.M,
)


def yes_or_no(reply: str) -> bool | None:
    """Whether a reply labels its answer as yes or no, or else begins with one of the words. A no before a noun ("No
    dogs are there") is none, and neither is what is taken back ("Yes... actually, no.")."""
    text = plain(reply).replace('"', "").replace("'", "")
    labels = [_Label(match.start(), match.end(), match[1].lower()) for match in _ANSWER.finditer(text)]
    if labels:
        verdict = _verdict(labels, text)
        answer = None if verdict is None else verdict == "yes"
        end = labels[-1].end
    elif begin := _FIRST.match(text):
        answer, end = begin["yes"] is not None, begin.end()
    else:
        return None
    other = _TAKEN_BACK.search(text, end)
    return None if other and (other["yes"] is not None) != answer else answer


_ONE = r"\b(?!\W*(?:or|and|/)?\W*(?:yes|no)\b)"
_ANSWER = re.compile(rf"\b(?:answer|verdict)\s*(?:is|[:=])\s*[\[({{]*(yes|no){_ONE}", re.I)
_FIRST = re.compile(
    rf"\W*(?:(?P<yes>yes){_ONE}|no{_ONE}(?=\s*(?:$|[\n,.;:!)\]}}—–-])|\s+(?:it|the|there|this|that|these|they|he|she|i)\b))",
    re.I,
)
_TAKEN_BACK = re.compile(
    r"\b(?:but|actually|rather|wait|otherwise|else|sorry|correction|meant)\W+(?:(?P<yes>yes)\b|no(?=\s*(?:$|[\n.,;:!)])))",
    re.I,
)
"""The other answer behind a first one: "Yes, but actually no."."""


def _verdict(labels: Sequence[_Label], text: str) -> float | str | None:
    """The last of some labelled values, if it is the verdict."""
    final = [label for label in labels if label.final]
    last = (final or labels)[-1]
    before = [label for label in labels if label.start < last.start and (label.final or not last.final)]
    if before and before[-1].value != last.value:
        other, between = before[-1], text[before[-1].end : last.start]
        in_list = other.first and last.first and between.count("\n") == 1
        if in_list or _ALTERNATIVES.fullmatch(between) or len({label.value for label in labels}) >= _QUOTES_THE_SCALE:
            return None
    return last.value


def _value(text: str, low: float, high: float) -> float | None:
    """The value that a text begins with."""
    match = _VALUE.match(text)
    if match is None or (match["top"] and float(match["top"]) != high) or _NO_VALUE_BEFORE.match(text, match.end()):
        return None
    scale = _SCALE.match(text, match.end())  # "3 of 6" has the scale; "1 of the claims" is no value
    if scale and (scale["top"] is None or float(scale["top"]) != high):
        return None
    value = float(match["value"])
    return value if low <= value <= high else None


def _number(value: float | str | None) -> float | None:
    return value if isinstance(value, float) else None


def _colons(text: str, label: str, low: float, high: float) -> list[_Label]:
    """``Rating: 5``, and a heading with the number alone on its line."""
    labels = []
    for match in _colon(label).finditer(text):
        word, first = (match["before"] or "").lower(), _is_first(text, match.start())
        final = word in ("final", "overall")
        other = label != "rating" and word and word not in _NAMED_BEFORE  # the score of something else
        rest = text[match.end() :]
        token = re.match(r"\S*\d\S*", rest)
        if token is None or other or (match["heading"] and not first):
            continue
        if "\n" in match[0]:
            line = rest.split("\n", 1)[0].strip()
            whole = _VALUE.match(line)
            if whole is None or line[whole.end() :].strip(" .)]!"):
                continue
        labels.append(_Label(match.start(), match.end() + len(token[0]), _value(rest, low, high), final, first))
    return labels


def _is(text: str, label: str, low: float, high: float) -> list[_Label]:
    """``The rating is 5``."""
    labels = []
    for match in re.finditer(
        rf"(?:\b(?P<before>[a-z]+)\s+)?\b{label}\s+(?:is|should be)\s*:?{_OPEN}(?=[^\s]*\d)", text, re.I
    ):
        word = (match["before"] or "").lower()
        if not word or word in _NAMED_BEFORE:
            value = _value(text[match.end() :], low, high)
            labels.append(_Label(match.start(), match.end() + 1, value, word in ("final", "overall")))
    return labels


def _labelled_alone(text: str, label: str, low: float, high: float) -> float | None:
    """The last number behind a label that no further word follows: ``Assistant 1: 2 errors`` is no score."""
    values = []
    for match in re.finditer(rf"\b{label}(?:'s)?(?:\s+score)?\s*[:=]{_OPEN}(?=\d)", text, re.I):
        rest = text[match.end() :]
        whole = _VALUE.match(rest)
        alone = whole is not None and re.match(r"\s*(?:[,;.|)\]\n]|and\b|$)", rest[whole.end() :])
        values.append(_value(rest, low, high) if alone else None)
    return values[-1] if values else None


def _is_first(text: str, place: int) -> bool:
    """Whether no word stands before a place on its line."""
    return not re.search(r"\w", text[text.rfind("\n", 0, place) + 1 : place])


@cache
def _colon(label: str) -> re.Pattern[str]:
    scale = r"(?:\s*[\[(][^()\[\]\n]{0,40}[\])])?"  # as in "Rating (0-6)"
    return re.compile(
        rf"(?:\b(?P<before>[a-z]+)[ \t]+)?\b{label}[\"'”]?{scale}"
        rf"(?:\s*[:=]{_OPEN}|[ \t]+[-–—][ \t]+|(?P<heading>[ \t]*\n{_OPEN}))",
        re.I,
    )


@cache
def _elements(labels: Sequence[str]) -> re.Pattern[str]:
    return re.compile(rf"<({'|'.join(labels)})>\s*(?=[^<]*</\1>)", re.I)


def _field_text(value: Any) -> str:
    return "" if isinstance(value, bool) else str(value).strip() if isinstance(value, int | float | str) else ""


def _fields(text: str, names: Sequence[str]) -> tuple[list[tuple[int, int, Any]], str]:
    """Fields of JSON objects in a text: where each object stands and what the field holds; and the text with these
    objects blanked."""
    values: list[tuple[int, int, Any]] = []
    for start, end, content in _objects(text):
        if values and start < values[-1][1]:
            continue  # inside the last one
        fields = {re.sub(r"[\W_]", "", str(name)).lower(): value for name, value in content.items()}
        if name := next((name for name in names if name in fields), None):
            values.append((start, end, fields[name]))
            text = text[:start] + " " * (end - start) + text[end:]
    return values, text


def _objects(text: str) -> Iterator[tuple[int, int, dict[str, Any]]]:
    decoder = json.JSONDecoder()
    for start in [brace.start() for brace in re.finditer(r"\{", text)][:_OBJECTS]:
        try:
            content, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            continue
        if isinstance(content, dict):
            yield start, end, content
