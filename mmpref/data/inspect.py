"""What is in a preference dataset and what is wrong with it: every row is read once, every problem has its place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mmpref.data.near_duplicates import NearDuplicates, RepeatedPhrases
from mmpref.data.stats import EDGES, SHOWN_IDS, differing_share, histogram, length_bias, length_warnings, spread
from mmpref.errors import ImageError, InputError, brief
from mmpref.image_metadata import has_position, positions_told
from mmpref.tables.cells import IMAGES, as_number, is_null
from mmpref.tables.headings import unfolded
from mmpref.tables.image_cells import name_in_cell, read_images
from mmpref.tables.image_roots import ImageRoots
from mmpref.tables.repeated_pairs import pair_keys
from mmpref.tables.rows import PreferenceRow, image_fault, same_answer
from mmpref.tables.table import Table, TableReader
from mmpref.types import ImageData, Message, context_of
from mmpref.words import words

if TYPE_CHECKING:
    from mmpref.vlm.preprocess import Refused

PROBLEMS = {
    "missing": "a column that preference data needs is missing",
    "malformed": "a column holds no text or messages",
    "not-read": "a part of the row is not read",
    "empty": "a text is empty",
    "turn-order": "user and assistant do not take turns",
    "prompts-differ": "the rejected answer is to another prompt",
    "equal-answers": "chosen and rejected look the same",
    "equal-tokens": "chosen and rejected are the same to the model's tokenizer",
    "special-token": "a text contains a special token of the model",
    "chat-template": "the model's chat template refuses the row, or changes a text of it",
    "no-image": "no image",
    "image-placement": "an image in a later turn or amid the text, or not as many placeholders as images",
    "bad-image": "an image cannot be used",
}
"""Kinds of problems, in the order they are shown, and what they mean. A row with one is left out of training, any other
can be trained on, unless the model's processor refuses its images."""
NOTES = {
    "columns": "columns are not those of the first row",
    "duplicate": "images, prompt and answers are those of an earlier row",
    "conflict": "images and prompt are those of an earlier row, chosen and rejected are swapped",
}
"""Kinds of notes: what is worth knowing of rows, and no reason to leave them out of training."""
KINDS = {
    "empty-prompt": "empty",
    "empty-answer": "empty",
    "no-rejected": "empty",
    "missing-image": "bad-image",
    "image-url": "bad-image",
}
_NAME = 200
"""Characters that are shown of an image's name."""


@dataclass(frozen=True)
class Sample:
    """One row to look at: its number from 0, texts, the usable images, and its problems.

    Args:
        source: which set the row is from, as far as it says.
        differing: share of the words in which the answers differ.
        context: the beginning of an answer, which both continue.
        problems: why training leaves it out.
        notes: what is noted of it all the same.
        image_names: what the row calls its images, of those that it names.
    """

    number: int
    images: tuple[ImageData, ...]
    prompt: str
    chosen: str
    rejected: str
    method: str
    source: str
    similarity: float | None
    differing: float
    problems: tuple[str, ...]
    notes: tuple[str, ...] = ()
    context: str = ""
    image_names: tuple[str, ...] = ()


class Findings:
    """Counts of problems or notes by kind, and where the first of each are.

    Args:
        kinds: all there are, in the order they are shown.
    """

    def __init__(self, kinds: Mapping[str, str]) -> None:
        self._kinds = kinds
        self._by_kind: dict[str, dict[str, Any]] = {}

    def add(self, kind: str, row: int, column: str, detail: str, images: Sequence[str] = ()) -> None:
        """
        Args:
            images: what the row calls its images.
        """
        entry = self._by_kind.setdefault(kind, {"count": 0, "first": []})
        entry["count"] += 1
        if len(entry["first"]) < SHOWN_IDS:
            named = {"images": [*images]} if images else {}
            entry["first"].append({"row": row, **named, "column": column, "detail": detail})

    def as_plain(self) -> dict[str, Any]:
        return {kind: self._by_kind[kind] for kind in self._kinds if kind in self._by_kind}


def inspect(
    table: Table,
    image_root: Sequence[str] = (),
    on_row: Callable[[Sample], None] | None = None,
    special: Callable[[str], str | None] | None = None,
    on_progress: Callable[[int], None] | None = None,
    alike: Callable[[str, str], bool] | None = None,
    refused: Refused | None = None,
) -> dict[str, Any]:
    """Read all rows of a preference dataset.

    Args:
        image_root: folders that image paths in rows are relative to; by default the dataset's own folder.
        on_row: is given every row to look at.
        special: gives a special token of a model that a text contains, where a model is known.
        alike: whether two answers are the same to a model, where one is known.
        refused: what the chat template of a model refuses, where one is known.
        on_progress: told how many rows are read; how many there are is not known before.

    Returns:
        The report (rows, how many are usable, problems and notes by kind with row and column, words, length bias and
        warnings of it, similarity, differing share, images a row, rows by method and by source, near duplicates,
        sentences that rejected answers repeat).

    Raises:
        InputError: no rows, or rows that are no preference data at all.
    """
    collected = _Collected(table, ImageRoots(image_root or table.images), special, alike, refused)
    for number, row in enumerate(table):
        sample = collected.add(number, row)
        if on_row:
            on_row(sample)
        if on_progress:
            on_progress(number + 1)
    collected.reader.end()
    if collected.rows == 0:
        raise InputError(f"{collected.reader.where} has no rows.")
    return collected.report()


class _Remarks:
    """What is said of one row; counted in the findings of all."""

    def __init__(self, findings: Findings, row: int, images: Sequence[str]) -> None:
        self._findings, self._row, self._images = findings, row, images
        self.texts: list[str] = []

    def add(self, kind: str, column: str, detail: str) -> None:
        self.texts.append(f"{kind} ({column}): {detail}")
        self._findings.add(kind, self._row, column, detail, self._images)


class _Collected:
    def __init__(
        self,
        table: Table,
        roots: ImageRoots,
        special: Callable[[str], str | None] | None,
        alike: Callable[[str, str], bool] | None,
        refused: Refused | None,
    ) -> None:
        self.table, self.roots, self.special, self.alike, self.refused = table, roots, special, alike, refused
        self.reader = TableReader(table, ("chosen", "rejected"))
        self.rows, self.usable, self.contexts = 0, 0, 0
        self.problems, self.notes = Findings(PROBLEMS), Findings(NOTES)
        self.columns: tuple[str, ...] = ()
        self.words: dict[str, list[int]] = {"chosen": [], "rejected": []}
        self.similarities: list[float] = []
        self.differing: list[float] = []
        self.images: Counter[int] = Counter()
        self.with_position = 0
        self.methods: Counter[str] = Counter()
        self.sources: Counter[str] = Counter()
        self.changed: Counter[str] = Counter()
        self.first_rows: dict[str, int] = {}
        self.repeats, self.near = RepeatedPhrases(), NearDuplicates()

    def add(self, number: int, row: Mapping[str, Any]) -> Sample:
        self.rows += 1
        read = self.reader.read(row, number)
        names = tuple(brief(name, _NAME) for cell in read.images if (name := name_in_cell(cell)))
        problems, notes = (_Remarks(findings, number, names) for findings in (self.problems, self.notes))
        self._compare_columns(number, row, notes)
        images = self._read_images(read, problems)
        row = unfolded(row)
        self._check_texts(row, read, problems)
        differing = differing_share(read.chosen, read.rejected)
        if read.chosen and read.rejected:
            self._compare_answers(read, problems)
            self.differing.append(differing)
            self._look_for_repeats(number, read, images, notes)
        self.usable += not problems.texts
        if not read.fault("chosen", "rejected"):
            self.changed.update(read.notes)
        context = context_of(read.prompt)
        self.contexts += bool(context)
        similarity = as_number(row.get("similarity"))
        if similarity is not None:
            self.similarities.append(similarity)
        method = _label(row.get("method"))
        self.methods[method] += 1
        source = _label(row.get("source") or str(row.get("source_id") or "").rpartition("/")[0])
        self.sources[source] += 1
        return Sample(
            number,
            images,
            _joined(read.prompt[:-1] if context else read.prompt),
            read.chosen,
            read.rejected,
            method,
            source,
            similarity,
            differing,
            tuple(problems.texts),
            tuple(notes.texts),
            context,
            names,
        )

    def _check_texts(self, row: Mapping[str, Any], read: PreferenceRow, problems: _Remarks) -> None:
        """What the reader found wrong, and special tokens of a model."""
        for fault in read.faults:
            if fault.part in ("prompt", "images", "chosen", "rejected"):
                kind = KINDS.get(fault.reason, fault.reason)
                if kind == "empty" and fault.column not in row:
                    kind = "missing"
                problems.add(kind, fault.column, fault.detail or PROBLEMS[kind])
        for name, text in _texts(read).items():
            if self.special and (token := self.special(text)):
                problems.add("special-token", name, f"contains {token}")
        answers = {"chosen": read.chosen, "rejected": read.rejected}
        if self.refused and not problems.texts and (refused := self.refused(read.prompt, len(read.images), answers)):
            problems.add("chat-template", *refused)

    def _compare_answers(self, read: PreferenceRow, problems: _Remarks) -> None:
        if same_answer(read.chosen, read.rejected):
            problems.add("equal-answers", "rejected", "the text of chosen")
        elif self.alike and self.alike(read.chosen, read.rejected):
            problems.add("equal-tokens", "rejected", "the tokens of chosen")
        self.words["chosen"].append(len(words(read.chosen)))
        self.words["rejected"].append(len(words(read.rejected)))

    def _look_for_repeats(
        self, number: int, read: PreferenceRow, images: tuple[ImageData, ...], notes: _Remarks
    ) -> None:
        """See whether an earlier row is the same, or its opposite, or like it."""
        keys = pair_keys(images, read.prompt, read.chosen, read.rejected)
        earlier = self.first_rows.setdefault(keys.own, number)
        if earlier != number:
            notes.add("duplicate", "row", f"same as row {earlier}")
        elif (opposite := self.first_rows.get(keys.swapped, number)) != number:
            notes.add("conflict", "row", f"opposite of row {opposite}")
        self.repeats.add(read.chosen, read.rejected)
        self.near.add(number, list(_texts(read).values()), images)

    def _compare_columns(self, number: int, row: Mapping[str, Any], notes: _Remarks) -> None:
        columns = tuple(sorted(row))
        if number == 0:
            self.columns = columns
        differences = {
            "lacks": [name for name in self.columns if name not in row],
            "has also": [name for name in columns if name not in self.columns],
        }
        if said := [f"{how} {', '.join(names)}" for how, names in differences.items() if names]:
            notes.add("columns", "row", brief("; ".join(said), 300))

    def _read_images(self, read: PreferenceRow, problems: _Remarks) -> tuple[ImageData, ...]:
        self.images[len(read.images)] += 1
        usable: list[ImageData] = []
        changed: set[str] = set()
        for cell in read.images:
            try:
                [image], changes = read_images([cell], self.roots)
                usable.append(image)
                self.with_position += has_position(image.content)
                changed.update(changes)
            except ImageError as error:
                fault = image_fault(error)
                column = next((name for name in IMAGES if name in self.columns), "images")
                problems.add(KINDS.get(fault.reason, fault.reason), column, fault.detail)
        self.changed.update(changed)
        return tuple(usable)

    def report(self) -> dict[str, Any]:
        chosen, rejected = self.words["chosen"], self.words["rejected"]
        bias = length_bias(chosen, rejected)
        return {
            "dataset": self.table.facts(),
            "rows": self.rows,
            "columns": [brief(name, 60) for name in self.columns],
            "usable": self.usable,
            "problems": self.problems.as_plain(),
            "notes": self.notes.as_plain(),
            "words": {"chosen": spread(chosen), "rejected": spread(rejected)},
            "length_bias": bias,
            "warnings": [
                *length_warnings(bias),
                *positions_told(self.with_position, sum(count * rows for count, rows in self.images.items())),
            ],
            "images_with_position": self.with_position,
            "similarity": {
                "measured": len(self.similarities),
                "edges": EDGES,
                "counts": histogram(self.similarities),
                **spread(self.similarities),
            },
            "differing_words": spread(self.differing),
            "changed": dict(sorted(self.changed.items())),
            **({"contexts": self.contexts} if self.contexts else {}),
            "not_read": list(self.reader.unread)[:SHOWN_IDS],
            "images_per_row": {str(count): rows for count, rows in sorted(self.images.items())},
            "methods": dict(sorted(self.methods.items())),
            "sources": dict(self.sources.most_common()),
            "near_duplicates": self.near.matches,
            "repeats": self.repeats.report(),
        }


def _label(cell: Any) -> str:
    return "unknown" if is_null(cell) else brief(str(cell), 100)


def _texts(read: PreferenceRow) -> dict[str, str]:
    return {"prompt": _joined(read.prompt), "chosen": read.chosen, "rejected": read.rejected}


def _joined(prompt: Sequence[Message]) -> str:
    return "\n".join(message.content for message in prompt)
