"""Markdown of cards. Text from data is untrusted: it can neither build markup, nor links, nor front matter.

Every character that begins markup is written as an entity, which CommonMark never reads as structure. Text always
comes out as one line that the template sets behind words of its own, so nothing is at the start of a line.
"""

from __future__ import annotations

import difflib
import json
import re
import unicodedata
from collections.abc import Collection, Iterable, Sequence

_MARKUP = re.compile(r"[&<>\\`*_{}\[\]#!|~$@]")
_CODE = re.compile(r"`([^`\n]+)`")
_NEWLINE = re.compile(r"\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")
# GFM renderers link bare addresses after they have decoded entities; a word joiner stops them.
_ADDRESS = re.compile(r"(?i)(https?|ftp|mailto|www)(?=[:.])|(?=@)")
# Scripts without spaces between words are compared character by character.
_WORD = re.compile(
    r"\s+|[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\W_\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+|.", re.DOTALL
)


def text(value: object) -> str:
    """`value` as one line of harmless Markdown; line breaks become ``<br>``."""
    plain = _ADDRESS.sub("\\1\u2060", printable(str(value)))
    return _NEWLINE.sub("<br>", _MARKUP.sub(lambda match: f"&#{ord(match[0])};", plain))


def code(value: object) -> str:
    """`value` set as code, in a way that also holds in a table cell."""
    return f"<code>{text(value)}</code>"


def remark(value: str) -> str:
    """A sentence of our own as harmless Markdown, in which what stands between backticks is code: whatever of it is
    from data stays text there, too."""
    return "".join(code(part) if number % 2 else text(part) for number, part in enumerate(_CODE.split(value)))


def fence(content: str, language: str) -> str:
    """A code block that `content` cannot end."""
    longest = max((len(run) for run in re.findall(r"`+", content)), default=0)
    ticks = "`" * max(3, longest + 1)
    return f"{ticks}{language}\n{content}\n{ticks}"


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], texts: Collection[int] = ()) -> str:
    """A table of ready-made cells; the first column is text, and so are those of the numbers `texts`; others are
    numbers, which stand to the right."""
    lines = [columns, ["---" if number in (0, *texts) else "---:" for number in range(len(columns))], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def hidden(name: str, data: object) -> str:
    """A comment that carries `data` as JSON, for later publishings to read."""
    # No character that could end the comment survives in it.
    content = json.dumps(data).replace("<", "\\u003c").replace(">", "\\u003e").replace("--", "-\\u002d")
    return f"<!-- mmpref:{name} {content} -->"


def clip(value: str, limit: int) -> str:
    """At most `limit` characters, with an ellipsis where something was cut."""
    return value if len(value) <= limit else value[:limit].rstrip() + "…"


def marked_pair(chosen: str, rejected: str, limit: int) -> tuple[str, str]:
    """Both answers as Markdown: in bold where the rejected one differs, underlined where the chosen one does.

    Of long answers, `limit` characters are shown, from a little before the first difference.
    """
    start = 0
    if max(len(chosen), len(rejected)) > limit:
        pairs = enumerate(zip(chosen, rejected, strict=False))
        same = next((index for index, (a, b) in pairs if a != b), min(len(chosen), len(rejected)))
        start = max(0, same - limit // 4)
        start = max(start, chosen.find(" ", start, same) + 1) if start else 0
    # Beyond what is shown, a little more is compared, so that the cut itself is not taken for a difference.
    words = [_WORD.findall(answer[start : start + 2 * limit]) for answer in (chosen, rejected)]
    left: list[tuple[str, bool]] = []
    right: list[tuple[str, bool]] = []
    for kind, a, b, c, d in difflib.SequenceMatcher(None, words[0], words[1], autojunk=False).get_opcodes():
        left += [(character, kind != "equal") for character in "".join(words[0][a:b])]
        right += [(character, kind != "equal") for character in "".join(words[1][c:d])]
    return (
        _mark(left[:limit], "u", start > 0, len(chosen) > start + limit),
        _mark(right[:limit], "b", start > 0, len(rejected) > start + limit),
    )


def _mark(characters: Sequence[tuple[str, bool]], tag: str, before: bool, after: bool) -> str:
    """Runs of differing characters in `tag`; white space at a run's ends stays outside."""
    runs: list[tuple[str, bool]] = []
    for character, differs in characters:
        if runs and runs[-1][1] == differs:
            runs[-1] = (runs[-1][0] + character, differs)
        else:
            runs.append((character, differs))
    parts = []
    for run, differs in runs:
        core = run.strip()
        if not differs or not core:
            parts.append(text(run))
            continue
        head, tail = run[: run.index(core)], run[run.index(core) + len(core) :]
        parts.append(f"{text(head)}<{tag}>{text(core)}</{tag}>{text(tail)}")
    return ("… " if before else "") + "".join(parts) + (" …" if after else "")


def printable(value: str) -> str:
    """Without control, surrogate and direction-changing characters, which could disguise what follows them."""
    return "".join("\ufffd" if _is_unprintable(character) else character for character in value)


def _is_unprintable(character: str) -> bool:
    if character in "\t\u200c\u200d" or _NEWLINE.match(character):  # joiners are part of scripts and of emoji
        return False
    return unicodedata.category(character) in ("Cc", "Cf", "Cs")
