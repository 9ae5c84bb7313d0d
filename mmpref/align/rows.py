"""Preference rows -> one Arrow file of usable pairs, read back lazily. Every row is used, or skipped and counted.

Rows are TRL's: ``prompt``, ``chosen``, ``rejected`` (messages with string or structured content, or plain strings) and
``images`` or ``image``. Reasons for a skip: ``no-image``, ``bad-image``, ``malformed`` (no messages of known form),
``empty-answer`` (no text), ``equal-answers`` (chosen is rejected), ``image-placement`` (image blocks that do not match
the images, or stand outside the user's turns), ``image-token`` (the text itself contains the model's image token) and,
where a method wants two rejected answers, ``no-second``. Methods that write answers themselves do without those of the
data: supervised rows (``completion``) and bare prompts are rows too, then.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmpref.errors import ImageError, InputError, RunError
from mmpref.images import decode, read_under
from mmpref.registry import resolve_path
from mmpref.run import disk_errors, write_atomic
from mmpref.tables import Table
from mmpref.types import ImageData

if TYPE_CHECKING:
    import datasets

TEXTS = ("prompt", "chosen", "rejected")
SECOND = "rejected_policy"
"""A second rejected answer, for averaged losses."""
CROPPED = "cropped"
"""Small parts of a row's images, in their place; made while training. Its batch has the chosen answer twice."""
ROW, WHERE = "row", "where"
DATA, FACTS = "pairs.arrow", "pairs.json"
STAND_IN = {"chosen": "(an answer)", "rejected": "(another answer)"}
"""For answers that a method does not need and the data do not have."""
_BATCH = 64


class Unusable(Exception):
    """This row is skipped and counted under ``reason``."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class Pairs:
    """The usable pairs of a run.

    Args:
        dataset: ``images`` (decoded when read), ``prompt``, ``chosen``, ``rejected``: what TRL's collator takes; and
            ``rejected_policy``, where it was asked for.
            It is in Arrow beside ``where``, the row's place in its table.
        sources: for each data set: `Table.facts` and ``rows``, the pairs that came from it.
        skipped: number of rows by reason.
    """

    dataset: datasets.Dataset
    sources: list[dict[str, Any]]
    skipped: dict[str, int]

    def where(self, row: int) -> str:
        """The place of a row in its table, for errors."""
        where: str = self.dataset.data.column(WHERE)[row].as_py()
        return where


def collect(
    tables: Sequence[Table], folder: Path, *, image_token: str, limit: int | None = None, second: bool = False,
    needs: Sequence[str] = ("chosen", "rejected"),
) -> Pairs:  # fmt: skip
    """Check the rows of all tables and keep the usable ones in ``folder``; a second call reads what the first wrote.

    Args:
        folder: holds ``pairs.arrow`` and ``pairs.json``; the latter is written last.
        image_token: the model's placeholder, which no text may contain.
        limit: take only the first rows.
        second: rows must have a second rejected answer.
        needs: answers that rows must have; others may be missing.

    Raises:
        InputError: a table without rows or columns that preference data needs, or no usable row at all.
        RunError: the tables changed since an earlier call, or the disk is full.
    """
    facts = [table.facts() for table in tables]
    if (folder / FACTS).is_file():
        known = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        _refuse_changed([source["fingerprint"] for source in known["sources"]], facts)
    else:
        texts = (*TEXTS, SECOND) if second else TEXTS
        known = _write(tables, folder, image_token, limit, texts, [name for name in STAND_IN if name not in needs])
        write_atomic(folder / FACTS, json.dumps(known, indent=2, ensure_ascii=False) + "\n")
    return Pairs(_open(folder / DATA), known["sources"], known["skipped"])


def _refuse_changed(before: Sequence[str], facts: Sequence[Mapping[str, Any]]) -> None:
    for fingerprint, fact in zip(before, facts, strict=True):
        if fingerprint != fact["fingerprint"]:
            raise RunError(f"The data set {fact['id']} has changed since this run began.", "Choose another --output.")


def _write(
    tables: Sequence[Table],
    folder: Path,
    image_token: str,
    limit: int | None,
    texts: Sequence[str],
    spared: Sequence[str],
) -> dict[str, Any]:
    import pyarrow as pa

    schema = pa.schema([("images", pa.list_(pa.binary())), *((name, pa.string()) for name in (*texts, WHERE))])
    skipped: dict[str, int] = {}
    used: dict[int, int] = dict.fromkeys(range(len(tables)), 0)
    first = ""
    temporary = folder / f".{DATA}.tmp"
    with disk_errors(temporary), open(temporary, "wb") as file, pa.ipc.new_stream(file, schema) as writer:
        batch: list[dict[str, Any]] = []
        for number, (index, where, row, root) in enumerate(_rows(tables, texts, spared)):
            if limit is not None and number >= limit:
                break
            try:
                batch.append(_pair(_filled(row, spared), where, root, image_token, texts))
                used[index] += 1
            except Unusable as skip:
                skipped[skip.reason] = skipped.get(skip.reason, 0) + 1
                first = first or f"First: {where}: {skip.detail or skip.reason}."
            if len(batch) == _BATCH:
                writer.write_batch(pa.RecordBatch.from_pylist(batch, schema))
                batch = []
        if batch:
            writer.write_batch(pa.RecordBatch.from_pylist(batch, schema))
    if not any(used.values()):
        reasons = ", ".join(f"{reason}: {count}" for reason, count in sorted(skipped.items()))
        raise InputError(
            f"No row of {', '.join(table.spec for table in tables)} can be trained on ({reasons}). {first}"
        )
    os.replace(temporary, folder / DATA)
    sources = [{**table.facts(), "rows": used[index]} for index, table in enumerate(tables)]
    return {"sources": sources, "skipped": dict(sorted(skipped.items()))}


def _filled(row: Mapping[str, Any], spared: Sequence[str]) -> Mapping[str, Any]:
    """The row with a supervised answer as the chosen one, and stand-ins for answers that nobody needs."""
    filled = dict(row)
    if filled.get("chosen") is None and filled.get("completion") is not None:
        filled["chosen"] = filled["completion"]
    for name in spared:
        if filled.get(name) is None:
            filled[name] = STAND_IN[name]
    return filled


def _rows(
    tables: Iterable[Table], texts: Sequence[str], spared: Sequence[str]
) -> Iterator[tuple[int, str, Mapping[str, Any], Path | None]]:
    """(table's index, where the row is, row, folder that its image paths are relative to)."""
    for index, table in enumerate(tables):
        local = Path(resolve_path(table.spec))
        root = None if not local.exists() else local if local.is_dir() else local.parent
        number = -1
        for number, row in enumerate(table):
            where = f"{table.spec} ({table.split}), row {number}"
            if number == 0:
                _check_columns(_filled(row, spared), where, texts)
            yield index, where, row, root
        if number < 0:
            raise InputError(f"The data set {table.spec} ({table.split}) has no rows.")


def _check_columns(row: Mapping[str, Any], where: str, texts: Sequence[str]) -> None:
    missing = [name for name in texts if name not in row]
    if not {"images", "image"} & row.keys():
        missing.append("images (or image)")
    if missing:
        raise InputError(f"{where} lacks {', '.join(missing)}; its columns are {', '.join(row) or 'none'}.",
                         "Preference data has prompt, chosen, rejected and images." if missing != [SECOND] else
                         "build-dataset with --set keep_rejected=true writes two rejected answers.")  # fmt: skip


def _pair(
    row: Mapping[str, Any], where: str, root: Path | None, image_token: str, texts: Sequence[str]
) -> dict[str, Any]:
    if SECOND in texts and not row.get(SECOND):
        raise Unusable("no-second")
    prompt, *answers = (_messages(row.get(name), "user" if name == "prompt" else "assistant") for name in texts)
    if answers[0] in answers[1:]:
        raise Unusable("equal-answers")
    cells = row.get("images") if row.get("images") is not None else row.get("image")
    cells = [cell for cell in (cells if isinstance(cells, list) else [cells]) if cell is not None]
    if not cells:
        raise Unusable("no-image")
    said = [turn for answer in answers for turn in answer]
    _check_placement(prompt, said, len(cells))
    for answer in answers:
        if not any(part["text"].strip() for part in _parts(answer) if part["type"] == "text"):
            raise Unusable("empty-answer")
    if any(image_token in part["text"] for part in _parts([*prompt, *said]) if part["type"] == "text"):
        raise Unusable("image-token", f"the text contains {image_token}")
    try:
        images = [_image(cell, root, where) for cell in cells]
        for image in images:
            decode(image)
    except ImageError as error:
        raise Unusable("bad-image", str(error)) from error
    turns = zip(texts, (prompt, *answers), strict=True)
    return {"images": [image.content for image in images], **{name: json.dumps(value) for name, value in turns},
            WHERE: where}  # fmt: skip


def _messages(value: Any, role: str) -> list[dict[str, Any]]:
    """Messages with string content or a list of ``{"type": "image"}`` and ``{"type": "text", "text": ...}``."""
    if isinstance(value, str):
        return [{"role": role, "content": value}]
    if not isinstance(value, list) or not value:
        raise Unusable("malformed", "prompt, chosen and rejected must be messages or text")
    return [_message(turn) for turn in value]


def _message(turn: Any) -> dict[str, Any]:
    if not isinstance(turn, Mapping) or turn.get("role") not in ("system", "user", "assistant"):
        raise Unusable("malformed", "a message needs a role: system, user or assistant")
    content = turn.get("content")
    if isinstance(content, list) and all(isinstance(part, Mapping) for part in content):
        parts: list[dict[str, str]] = []
        for part in content:
            if part.get("type") == "image":
                parts.append({"type": "image"})
            elif part.get("type") == "text" and isinstance(part.get("text"), str):
                parts.append({"type": "text", "text": part["text"]})
            else:
                raise Unusable("malformed", f"a content part of type {part.get('type')!r}")
        return {"role": turn["role"], "content": parts}
    if not isinstance(content, str):
        raise Unusable("malformed", "a message's content must be text or a list of parts")
    return {"role": turn["role"], "content": content}


def _parts(messages: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, str]]:
    for message in messages:
        content = message["content"]
        yield from [{"type": "text", "text": content}] if isinstance(content, str) else content


def _check_placement(prompt: Sequence[Mapping[str, Any]], answers: Iterable[Mapping[str, Any]], images: int) -> None:
    """TRL puts all images into the first user turn that is a plain string; structured turns must name them."""
    users = [message for message in prompt if message["role"] == "user"]
    others = [message for message in prompt if message["role"] != "user"]
    if not users or prompt[-1]["role"] == "system":
        raise Unusable("malformed", "the prompt has no user turn, or ends with a system turn")
    blocks = sum(part["type"] == "image" for part in _parts(users))
    placed = blocks + images * any(isinstance(message["content"], str) for message in users)
    if placed != images or any(part["type"] == "image" for part in _parts([*others, *answers])):
        raise Unusable("image-placement", f"{blocks} image blocks in the user's turns for {images} images")


def _image(cell: Any, root: Path | None, where: str) -> ImageData:
    path = cell.get("path") if isinstance(cell, Mapping) else cell
    content = cell.get("bytes") if isinstance(cell, Mapping) else cell
    if isinstance(content, bytes):
        return ImageData(content, f"the image of {where}")
    if isinstance(path, str) and root is not None:
        return read_under(root, path)
    raise ImageError(f"the image of {where} is neither bytes nor a path under a local data set")


def numbered(dataset: datasets.Dataset) -> datasets.Dataset:
    """The same rows with a column of their numbers, by which what is known of a row is found again."""
    return dataset.with_format(None).add_column(ROW, list(range(len(dataset)))).with_transform(_decoded)


def _open(path: Path) -> datasets.Dataset:
    import datasets

    # The file is mapped, not read: memory stays flat however many images there are.
    return datasets.Dataset.from_file(str(path)).with_transform(_decoded)


def _decoded(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Arrow cells -> PIL images and messages, when the trainer asks for a row."""
    decoded: dict[str, list[Any]] = {
        name: [json.loads(text) for text in batch[name]] for name in (*TEXTS, SECOND) if name in batch
    }
    if ROW in batch:
        decoded[ROW] = batch[ROW]
    if "images" in batch:
        decoded["images"] = [[decode(ImageData(content)) for content in images] for images in batch["images"]]
    return decoded
