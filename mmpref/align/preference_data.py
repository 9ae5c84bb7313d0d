"""Preference rows -> one Arrow file of usable pairs, read back lazily. Every row is used, or skipped and counted.

Rows are those of `mmpref.tables.rows`, and so are the reasons for a skip; further ones are ``equal-answers``
(chosen is rejected, but for white space), ``equal-tokens`` (the model's tokenizer makes the same of both),
``special-token`` (a text contains one of the model's special tokens, which would not be text to it), ``chat-template``
(the model's chat template refuses the row's turns), ``context`` (the answers continue one, and the method's are whole),
where a method wants two rejected answers ``no-second``, and where it wants weights ``no-weight`` and ``bad-weight``.
Methods that write answers themselves do without those of the data: supervised rows and bare prompts are rows too, then.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mmpref.align.row_check import PLACEHOLDER_ANSWERS, Accepts, Row, RowCheck, answer_of
from mmpref.align.row_tally import RowTally
from mmpref.align.weights import ROW_WEIGHT, arrow_fields, weight_facts
from mmpref.errors import InputError, RunError, row_at
from mmpref.images import Looks, decode, open_looks
from mmpref.run.files import disk_errors, write_atomic
from mmpref.run.training_images import shortened
from mmpref.tables.headings import unfolded
from mmpref.tables.image_roots import ImageRoots
from mmpref.tables.named_images import RecordingRoots
from mmpref.tables.rows import REJECTED_POLICY, Fault, PreferenceRow
from mmpref.tables.table import Table, TableReader
from mmpref.tables.weights import SPANS, read_weights
from mmpref.types import ImageData, as_dicts, assistant_message, context_of, messages
from mmpref.vlm.same_tokens import Alike, alike_to
from mmpref.vlm.special_tokens import special_token_in, special_tokens_of
from mmpref.words import EnglishWords

if TYPE_CHECKING:
    import datasets

    from mmpref.vlm.policy import Policy
    from mmpref.vlm.preprocess import Refused

TEXTS = ("prompt", "chosen", "rejected")
OTHER_PAIR = "other_pair"
"""A pair of a row's prompt under other images, made while training: ``images``, ``chosen``, ``rejected``."""
NOISE = "noise"
"""Of a row: at how many of 1000 diffusion steps its other pair's images are, and the generator of the batch's noise."""
ROW, WHERE, IMAGES_SHA256 = "row", "where", "images_sha256"
DATA, FACTS = "rows.arrow", "rows.json"
_WRITE_BATCH = 64
_METHOD = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
"""What names of methods look like; a column ``method`` of somebody else's may hold anything."""


@dataclass(frozen=True)
class Pairs:
    """The usable pairs of a run.

    Args:
        dataset: ``images`` (decoded when read), ``prompt``, ``chosen``, ``rejected``: what TRL's collator takes; and
            ``rejected_policy``, where it was asked for.
            It is in Arrow beside ``where``, the row's place in its table, and ``images_sha256``.
        sources: for each data set: `Table.facts` and ``rows``, the pairs that came from it; and ``methods``, how many
            of them each way of making pairs has made, where the rows say so.
        skipped: number of rows by reason.
        changed: number of used rows by what was changed in them, such as ``images_moved_first``.
        skips: by reason, the first of the skipped rows: ``row``, its place, and ``detail``.
        weights: the columns of weights that were asked for (`mmpref.align.weights`), which are in Arrow too.
        repeated: as `mmpref.tables.repeated_pairs.RepeatedPairs` counts them; none where a method takes no pairs.
        named: `mmpref.tables.named_images.Digests` of the images of each table that its rows name.
    """

    dataset: datasets.Dataset
    sources: list[dict[str, Any]]
    skipped: dict[str, int]
    changed: dict[str, int] = field(default_factory=dict)
    skips: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    weights: tuple[str, ...] = ()
    repeated: dict[str, int] = field(default_factory=dict)
    named: list[dict[str, str]] = field(default_factory=list)

    def weight_facts(self) -> dict[str, Any]:
        """What the weights of its rows are, for the manifest; nothing where none were asked for."""
        values = {name: self.dataset.data.column(name).to_pylist() for name in self.weights}
        return {"weights": weight_facts(self.weights, values)} if self.weights else {}

    def languages(self) -> list[str]:
        """ISO 639-1 codes of the answers to learn from, or of prompts where there are none; only English is told."""
        found, table = EnglishWords(), self.dataset.data
        for name in ("chosen", "prompt"):
            for chunk in table.column(name).chunks:
                for turn in (turn for turns in chunk.to_pylist() for turn in turns):
                    if turn["content"] != PLACEHOLDER_ANSWERS.get(name):
                        found.add(turn["content"])
            if found.any:
                break
        return ["en"] if found.are_english else []

    def image_digests(self) -> set[str]:
        """What `mmpref.run.training_images` keeps of every image."""
        return {shortened(digest) for row in images_sha256(self.dataset) for digest in row}

    def where(self, row: int) -> str:
        """The place of a row in its table, for errors."""
        where: str = self.dataset.data.column(WHERE)[row].as_py()
        return where


def checks_of(policy: Policy) -> dict[str, Any]:
    """What `collect_pairs` asks of a model, as its arguments."""
    tokenizer = policy.tokenizer
    return {
        "image_token": tokenizer.convert_ids_to_tokens(policy.image_token_id),
        "special_tokens": special_tokens_of(tokenizer),
        "accepts": policy.prompter.prepare,
        "alike": alike_to(tokenizer),
        "refused": policy.prompter.refused,
    }


def collect_pairs(
    tables: Sequence[Table],
    folder: Path,
    *,
    image_token: str,
    special_tokens: Sequence[str] = (),
    image_root: Sequence[str] = (),
    accepts: Accepts | None = None,
    limit: int | None = None,
    second: bool = False,
    needs: Sequence[str] = ("chosen", "rejected"),
    contexts: bool | Literal["needed"] = True,
    weights: Sequence[str] = (),
    needs_weights: bool = True,
    looks: Looks | None = None,
    alike: Alike | None = None,
    refused: Refused | None = None,
) -> Pairs:
    """Check the rows of all tables and keep the usable ones in ``folder``; a second call reads what the first wrote.

    Args:
        folder: holds ``rows.arrow`` and ``rows.json``; the latter is written last.
        image_token: the model's placeholder, which no text may contain.
        special_tokens: other texts that the model's tokenizer does not take for text.
        image_root: folders and archives that image paths are relative to; by default a local table's own folder.
        accepts: tries the model's processor, on a row of every size of images.
        limit: take only the first rows.
        second: rows must have a second rejected answer.
        needs: answers that rows must have; others may be missing.
        contexts: whether rows are used whose answers continue a context; ``needed`` if some must.
        weights: columns of weights that are read too.
        needs_weights: some row must have one.
        looks: sees whether images can be decoded; by default in this process.
        alike: whether two answers are the same to the model.
        refused: what the model's chat template refuses.

    Raises:
        InputError: a table without rows or columns that preference data needs, no usable row at all, or none with a
            context where it is needed, or with a weight where it is.
        RunError: the tables changed since an earlier call, or the disk is full.
    """
    facts = [table.facts() for table in tables]
    if (folder / FACTS).is_file():
        written = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        _refuse_changed_tables([source["fingerprint"] for source in written["sources"]], facts)
    else:
        needed = (*needs, REJECTED_POLICY) if second else tuple(needs)
        special = special_token_in({image_token, *special_tokens})
        check = RowCheck(needed, special, accepts, looks or open_looks(0), bool(contexts), alike, refused)
        texts = (*TEXTS, REJECTED_POLICY) if second else TEXTS
        written = _write(tables, folder, limit, texts, image_root, check, weights)
        if weights and needs_weights and not written["weighed"]:
            names = ", ".join(table.spec for table in tables)
            raise InputError(
                f"No row of {names} has any {' or '.join(weights)}, and this method is for such rows.",
                "Name the column that has them with --columns, or train with --method dpo.",
            )
        if contexts == "needed" and not written["contexts"]:
            names = ", ".join(table.spec for table in tables)
            raise InputError(
                f"No answer of {names} continues a context, and this method is for such pairs.",
                "Build some with `mmpref build-dataset --method sentinel`, or train with --method dpo.",
            )
        write_atomic(folder / FACTS, json.dumps(written, indent=2, ensure_ascii=False) + "\n")
    return Pairs(
        _open(folder / DATA),
        written["sources"],
        written["skipped"],
        written["changed"],
        written["skips"],
        tuple(weights),
        written.get("repeated", {}),
        written.get("named", []),
    )


def sources_of(folder: Path) -> Sequence[Mapping[str, Any]]:
    """Facts of the tables whose rows `collect_pairs` wrote there; none where it has not."""
    written = folder / FACTS
    return json.loads(written.read_text(encoding="utf-8"))["sources"] if written.is_file() else []


def _refuse_changed_tables(before: Sequence[str], facts: Sequence[Mapping[str, Any]]) -> None:
    for fingerprint, fact in zip(before, facts, strict=True):
        if fingerprint != fact["fingerprint"]:
            raise RunError(f"The data set {fact['id']} has changed since this run began.", "Choose another --output.")


def _write(
    tables: Sequence[Table],
    folder: Path,
    limit: int | None,
    texts: Sequence[str],
    image_root: Sequence[str],
    check: RowCheck,
    weights: Sequence[str],
) -> dict[str, Any]:
    """Write the Arrow file of usable rows; what is kept of them in the other file.

    Raises:
        InputError: there is none.
    """
    import pyarrow as pa

    messages = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
    columns = [("images", pa.list_(pa.binary())), *((name, messages) for name in texts), (WHERE, pa.string())]
    columns.append((IMAGES_SHA256, pa.list_(pa.binary())))
    schema = pa.schema([*columns, *arrow_fields(weights)])
    tally = RowTally(tables, are_pairs={"chosen", "rejected"}.issubset(check.needs))
    roots = [RecordingRoots(image_root or table.images) for table in tables]
    rows = _usable_rows(_rows(tables, limit, roots, check.needs, weights), check, texts, tally)
    temporary = folder / f".{DATA}.tmp"
    with disk_errors(temporary), open(temporary, "wb") as file, pa.ipc.new_stream(file, schema) as writer:
        while batch := list(islice(rows, _WRITE_BATCH)):
            writer.write_batch(pa.RecordBatch.from_pylist(batch, schema))
    tally.refuse_none()
    os.replace(temporary, folder / DATA)
    return {**tally.facts(), "named": [each.take() for each in roots]}


def _usable_rows(
    rows: Iterator[Row], check: RowCheck, texts: Sequence[str], tally: RowTally
) -> Iterator[dict[str, Any]]:
    """The usable ones of these rows as they are kept; all are counted."""
    for row, found in check.found(rows):
        checked = check(row.read, found)
        if isinstance(checked, Fault):
            tally.skip(row.where, checked)
            continue
        assert not isinstance(row.weights, Fault)
        images, notes = checked
        tally.use(row.table, row.read, images, notes, row.method, row.weights)
        yield {**_arrow_row(row.read, images, row.where, texts), **row.weights}


def _arrow_row(row: PreferenceRow, images: Sequence[ImageData], where: str, texts: Sequence[str]) -> dict[str, Any]:
    """A row as it is kept, with stand-ins for answers that nobody needs."""
    answers = {name: assistant_message(answer_of(row, name)) for name in texts if name != "prompt"}
    return {
        "images": [image.content for image in images],
        "prompt": as_dicts(row.prompt),
        **answers,
        WHERE: where,
        IMAGES_SHA256: [image.sha256 for image in images],
    }


def _rows(
    tables: Sequence[Table],
    limit: int | None,
    roots: Sequence[ImageRoots],
    needs: Sequence[str],
    weights: Sequence[str],
) -> Iterator[Row]:
    """The first rows."""
    left = limit
    for index, table in enumerate(tables):
        if left == 0:
            return
        reader, rows = TableReader(table, needs), 0
        for row in islice(table, left):
            weighed = read_weights(unfolded(row), weights) if weights else {}
            place = f"{reader.where}, {row_at(rows)}"
            yield Row(index, place, reader.read(row, rows), roots[index], _method(row), weighed)
            rows += 1
        reader.end()
        reader.warn_of_unread()
        if rows == 0:
            raise InputError(f"{reader.where} has no rows.")
        left = left if left is None else left - rows


def _method(row: Mapping[str, Any]) -> str:
    """The method of ``build-dataset`` that made a row; "" where the row does not say."""
    method = unfolded(row).get("method")
    return method if isinstance(method, str) and _METHOD.fullmatch(method) else ""


def images_sha256(dataset: datasets.Dataset) -> list[tuple[bytes, ...]]:
    """The digests of every row's images, as they were taken when the row was checked.

    Args:
        dataset: as `Pairs` has it.
    """
    table = dataset.data
    if IMAGES_SHA256 not in table.column_names:  # of a run that an earlier version began
        rows = (row for chunk in table.column("images").chunks for row in chunk)
        return [tuple(ImageData(content).sha256 for content in row.as_py()) for row in rows]
    return [tuple(row) for row in table.column(IMAGES_SHA256).to_pylist()]


def with_row_numbers(
    dataset: datasets.Dataset, *, mismatched: bool = False, weights: Sequence[float] | None = None
) -> datasets.Dataset:
    """The same rows with a column of their numbers, by which what is cached of a row is found again.

    Args:
        mismatched: each row also has, as a second rejected answer, one to the next row of its kind (the last row, to
            the first): of every other row the chosen one, of the others the rejected one. Continuations of a context
            are one kind, whole answers the other.
        weights: of the rows, for a column of their own.

    Raises:
        InputError: there is no other row of a kind.
    """
    plain = dataset.with_format(None)
    numbered = plain.add_column(ROW, list(range(len(plain))))
    if mismatched:
        numbered = numbered.add_column(REJECTED_POLICY, _answers_to_other_rows(plain))
    if weights is not None:
        numbered = numbered.add_column(ROW_WEIGHT, list(weights))
    return numbered.with_transform(_decoded)


def _answers_to_other_rows(rows: datasets.Dataset) -> list[Any]:
    """As `with_row_numbers` has them."""
    answers = [list(rows[name]) for name in ("chosen", "rejected")]
    continues = [bool(context_of(messages(prompt))) for prompt in rows["prompt"]]
    others: list[Any] = [None] * len(rows)
    for kind, what in ((False, "whole answers"), (True, "continuations of a context")):
        of_kind = [row for row, continued in enumerate(continues) if continued is kind]
        if len(of_kind) == 1:
            raise InputError(
                f"This method asks for answers to other rows: it needs at least two rows with {what}, not one.",
                "Train on more rows, or with --method dpo.",
            )
        for place, row in enumerate(of_kind):
            others[row] = answers[place % 2][of_kind[(place + 1) % len(of_kind)]]
    return others


def _open(path: Path) -> datasets.Dataset:
    import datasets

    # The file is mapped, not read: memory stays flat however many images there are.
    return datasets.Dataset.from_file(str(path)).with_transform(_decoded)


def _decoded(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Images are decoded when the trainer asks for a row."""
    kept = (*TEXTS, REJECTED_POLICY, ROW, ROW_WEIGHT, *SPANS.values())
    decoded = {name: batch[name] for name in kept if name in batch}
    if "images" in batch:
        decoded["images"] = [[decode(ImageData(content)) for content in images] for images in batch["images"]]
    return decoded
