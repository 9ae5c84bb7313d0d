"""What results allow a card to say: its first words, its limits and its tags. Without results it promises nothing.

A headline metric gets the verdict that the terminal has (`mmpref.run.results_text.verdict_of`). Tags and promises are
made of what is sure; of what is ``perhaps`` better or worse, and of the rest, the data cannot tell. Nothing is promised
of what is better on images that the adapter was trained on.
"""

from __future__ import annotations

from collections.abc import Sequence

from mmpref.hub.cards.markdown import text
from mmpref.hub.cards.results_table import Line
from mmpref.run.results_text import direction_of, too_few_pairs, verdict_of

_VERDICTS = ("better", "worse", "perhaps better", "perhaps worse", "no clear change", "cannot tell")
"""In the order of a card's first words."""
_SEEN = "better where it was trained"
"""The outcome where it is better, or perhaps, on images that it was trained on: no claim of its own."""
_TRAINED_ON = "on images that it was trained on"
_OPENING, _LIMITS = "verdict", "limits"
TAGS = (
    "not-evaluated",
    "better-than-base",
    "worse-than-base",
    "mixed-results",
    "no-clear-change",
    "fewer-hallucinations",
    "more-hallucinations",
)
"""Tags that results decide."""


def outcome(line: Line) -> str | None:
    """The verdict on the adapter against its base; None where no claim is made on the line, or none can be, as most
    answers could not be read."""
    is_control = line.asked is not None and line.asked.label != line.asked.benchmark
    if not line.headline or line.higher_is_better is None or line.difference is None or is_control or line.is_form:
        return None
    _, low, high = line.difference
    p = line.own_p if line.p is None else line.p
    said = verdict_of(low, high, line.higher_is_better, p, too_few=too_few_pairs(line.pairs, line.lost))
    return _SEEN if line.is_trained_on and said in ("better", "perhaps better") else said


def _by_outcome(lines: Sequence[Line]) -> dict[str, list[Line]]:
    found = {said: [line for line in lines if outcome(line) == said] for said in (*_VERDICTS, _SEEN)}
    return {said: of for said, of in found.items() if of}


def verdict_tags(lines: Sequence[Line]) -> list[str]:
    """Tags of a card with these results."""
    if not lines:
        return ["not-evaluated"]
    found = _by_outcome(lines)
    tags = {
        ("better",): ["better-than-base"],
        ("worse",): ["worse-than-base"],
        ("better", "worse"): ["mixed-results"],
        (): ["no-clear-change"] if found.keys() - {"cannot tell", _SEEN} else [],
    }[tuple(said for said in ("better", "worse") if said in found)]
    moved = {outcome(line) for line in lines if line.asked and line.asked.hallucination} - {None, _SEEN}
    if "worse" in moved:
        return [*tags, "more-hallucinations"]
    return [*tags, "fewer-hallucinations"] if moved == {"better"} else tags


def opening(lines: Sequence[Line], while_training: bool = False) -> str:
    """The block of a card's first words on what was reached.

    Args:
        while_training: without results: whether the card shows what was measured while training, or at its end.
    """
    found = _by_outcome(lines)
    seen = found.pop(_SEEN, [])
    if not lines and while_training:
        words = "**It was not evaluated after its training**: what that measured is under Training, without intervals."
    elif not lines:
        words = "**It is not evaluated on this card**, which does not say whether it beats its base."
    elif not found and seen:
        words = "Whether it is better than its base on images that it was not trained on was not measured."
    elif not found and any(line.difference and line.headline and line.is_form for line in lines):
        words = "It was compared with its base, and whether it is better cannot be told."
    elif not found and any(line.difference for line in lines):
        words = "It was compared with its base, but on no metric that claims are made on: see the table below."
    elif not found:
        words = "It was evaluated, but not compared with its base: the results are below."
    else:
        parts = [f"**{said}** on {' and '.join(map(_claim, of))}" for said, of in found.items()]
        words = f"Against its base: {'; '.join(parts)}.{_also(lines)}"
    return _block(_OPENING, " ".join(filter(None, (words, _of_seen(seen), _garbled(lines), _of_form(lines)))))


def _of_seen(lines: Sequence[Line]) -> str:
    """What the adapter may know by heart."""
    claims = " and ".join(map(_claim, lines))
    return f"Its difference on {claims} says little of other images." if lines else ""


def _of_form(lines: Sequence[Line]) -> str:
    """What measures nothing of what answers say."""
    found = [line for line in lines if line.headline and line.is_form]
    return f"Most answers to {_names(found)} could not be read: it measures their form, not content." if found else ""


def _garbled(lines: Sequence[Line]) -> str:
    """Where its answers lost the form that those of its base have."""
    found = [line for line in lines if line.headline and line.is_garbled]
    shares = "; ".join(
        f"{line.name} ({line.unread[1]:.1%}, of its base's {line.unread[0]:.1%})" for line in found if line.unread
    )
    return (
        f"It garbles answers that its base gives in form. Of its answers could not be read: {shares}." if found else ""
    )


def _claim(line: Line) -> str:
    marked = " †" if line.asked and line.asked.chose else ""
    where = f"; {_TRAINED_ON}" if line.is_trained_on else ""
    return f"{line.name} ({line.cell(line.difference, signed=True)}{where}){marked}"


def _also(lines: Sequence[Line]) -> str:
    """Beside the metrics that claims are made on, those whose interval excludes 0, as the terminal has them: fewer
    hallucinations with less recall are not simply better."""
    changed: dict[str, list[str]] = {}
    claimed = {(line.benchmark, line.split) for line in lines if outcome(line)}
    for line in lines:
        if line.headline or line.difference is None or line.is_form or (line.benchmark, line.split) not in claimed:
            continue
        if line.is_trained_on or too_few_pairs(line.pairs, line.lost):
            continue
        _, low, high = line.difference
        if direction_of(low, high, line.higher_is_better):
            said = verdict_of(low, high, line.higher_is_better, line.own_p)
            changed.setdefault(line.place, []).append(f"{text(line.metric)} {said}")
    parts = [f" Of {name} also {', '.join(metrics)}." for name, metrics in changed.items()]
    return "".join(parts)


def limits(lines: Sequence[Line], while_training: bool = False) -> str:
    """The block of a card's limits that results decide; `while_training` as of `opening`."""
    found = _by_outcome(lines)
    points = []
    if not lines and while_training:
        points.append("Only its training measured it, without intervals: evaluate it before you use it.")
    elif not lines:
        points.append("No evaluation of it stands here: evaluate it before you use it.")
    if "worse" in found:
        points.append(f"It is worse than its base on {_names(found['worse'])}: do not use it for that.")
    if found:
        points.append("It is one training run of one seed; no interval here contains the chance of another.")
    if unsure := [line for said, of in found.items() if said not in ("better", "worse", _SEEN) for line in of]:
        points.append(f"The data cannot tell it from its base on {_names(unsure)}.")
    if trained := [line for line in lines if line.is_trained_on and line.headline]:
        points.append(f"Its values on {_names(trained)} are {_TRAINED_ON}: they may be too good, and promise nothing.")
    points += filter(None, (_garbled(lines), _of_form(lines)))
    if any(line.asked and line.asked.hallucination for line in found.get("better", [])):
        points.append(
            "Fewer hallucinations can come with shorter or more careful answers: read recall and length beside any "
            "hallucination rate. They are rarer, not impossible."
        )
    if any(line.asked and not line.asked.official for line in lines):
        points.append("It was measured on data or with settings of its maker's own, which the table below names.")
    points.append("Do not rely on it where an error does harm.")
    return _block(_LIMITS, "\n".join(f"* {point}" for point in points))


def _names(lines: Sequence[Line]) -> str:
    return "; ".join(dict.fromkeys(line.name for line in lines))


def _block(name: str, content: str) -> str:
    return f"<!-- mmpref:{name}:begin -->\n{content}\n<!-- mmpref:{name}:end -->"


def with_verdict(body: str, lines: Sequence[Line]) -> str:
    """A card's body whose blocks say what these results say; where there are none, what it says of that already."""
    if not lines:
        return body
    for name, block in ((_OPENING, opening(lines)), (_LIMITS, limits(lines))):
        begin, end = f"<!-- mmpref:{name}:begin -->", f"<!-- mmpref:{name}:end -->"
        before, found, rest = body.partition(begin)
        body = before + block + rest.partition(end)[2] if found and end in rest else body
    return body


def with_tags(tags: Sequence[str], lines: Sequence[Line]) -> list[str]:
    """Tags of a card with those that results decide as these results decide them."""
    return [*(tag for tag in tags if tag not in TAGS), *verdict_tags(lines)]
