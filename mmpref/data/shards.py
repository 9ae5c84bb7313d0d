"""Preference rows on disk: closed blocks while a run works, Parquet shards when it is done.

A block is `block_size` consecutive rows of the source. It is the unit of work, of restart and of ``--shard``: its
file depends on nothing but its rows and the recipe, so any history of kills and any split merges to the same bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmpref.data.row_facts import FACTS, NUMBERS
from mmpref.data.validation_split import split_keys
from mmpref.image_metadata import has_position
from mmpref.run.files import disk_errors, write_atomic
from mmpref.tables.named_images import Digests, joined
from mmpref.tables.repeated_pairs import pair_keys
from mmpref.tables.weights import SPANS
from mmpref.types import Pair, Skip, as_dicts, assistant_message

if TYPE_CHECKING:
    import pyarrow as pa

SHARD_BYTES = 500 * 1000 * 1000
ROW_GROUP_BYTES = 8 * 1000 * 1000
"""Some 80 photographs: merging needs little memory, and a reader who streams fetches little."""


OPTIONAL = ("rejected_policy", *FACTS, *SPANS.values())
"""Columns that a dataset has only where a row has a value for them."""


def schema(optional: Collection[str] = ()) -> pa.Schema:
    """Arrow schema of preference rows, with the `datasets` features that make images come out decoded.

    Args:
        optional: which of `OPTIONAL` it has.
    """
    import datasets
    from datasets import Image, List, Value

    turns = List({"role": Value("string"), "content": Value("string")})
    spans = List({"begin": Value("int64"), "end": Value("int64"), "weight": Value("float64")})
    columns = {
        "images": List(Image()),
        "prompt": turns,
        "chosen": turns,
        "rejected": turns,
        **({"rejected_policy": turns} if "rejected_policy" in optional else {}),
        "id": Value("string"),
        "method": Value("string"),
        "similarity": Value("float64"),
        "iterations": Value("int32"),
        "seed": Value("int64"),
        "source_id": Value("string"),
        **{name: Value("float64" if name in NUMBERS else "string") for name in FACTS if name in optional},
        **{name: spans for name in SPANS.values() if name in optional},
    }
    return datasets.Features(columns).arrow_schema


def as_row(pair: Pair) -> dict[str, Any]:
    """A pair in the columns of `schema`."""
    example = pair.example
    row: dict[str, Any] = {
        "images": [{"bytes": image.content, "path": image.name or None} for image in example.images],
        "prompt": as_dicts(example.prompt),
        "chosen": assistant_message(pair.chosen),
        "rejected": assistant_message(pair.rejected),
        "id": example.id,
        "method": pair.method,
        "similarity": pair.similarity,
        "iterations": pair.iterations,
        "seed": pair.seed,
        "source_id": example.source_id,
    }
    # Who wrote the example's own rejected answer, and how it was rated, says nothing of one that the method wrote.
    own = pair.rejected_by == "example"
    recorded = FACTS if own else ("source", "chosen_model")
    row |= {name: example.facts[name] for name in recorded if name in example.facts}
    row |= example.spans if own else {}
    if pair.rejected_policy is not None:
        row["rejected_policy"] = assistant_message(pair.rejected_policy)
    return row


class Blocks:
    """The finished blocks of a run, in its state folder.

    Args:
        keys: note with every row what it is known by for splits.
    """

    def __init__(self, state: Path, keys: bool = False) -> None:
        self._folder, self._keys = state / "blocks", keys

    def _files(self, number: int) -> tuple[Path, Path]:
        return self._folder / f"{number:06d}.parquet", self._folder / f"{number:06d}.json"

    def done(self, number: int) -> bool:
        """Whether the block is there, whole."""
        data, description = self._files(number)
        return description.is_file() and data.is_file() and data.stat().st_size == self.describe(number)["bytes"]

    def have_pairs(self) -> bool:
        """Whether any block has a pair: a build of skipped rows only is worth nothing to the corrected command."""
        described = (file.stem for file in self._folder.glob("*.json") if not file.name.startswith("."))
        return any(self.describe(int(stem))["rows"] for stem in described)

    def write(
        self,
        number: int,
        outcomes: Sequence[Sequence[Pair | Skip]],
        notes: Mapping[str, float] | None = None,
        named: Sequence[Digests] = (),
    ) -> None:
        """Keep a block, with what its worker counted. Its description is written last, so that its existence means that
        the block is complete.

        Args:
            outcomes: of each row.
            named: `mmpref.tables.named_images.Digests` of the images of each table that its rows name.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        made = [[one for one in of_row if isinstance(one, Pair)] for of_row in outcomes]
        pairs = [as_row(pair) for of_row in made for pair in of_row]
        skips = [asdict(one) for of_row in outcomes for one in of_row if isinstance(one, Skip)]
        data, description = self._files(number)
        optional = [name for name in OPTIONAL if any(name in row for row in pairs)]
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(pairs, schema=schema(optional)), buffer)
        content = buffer.getvalue()
        write_atomic(data, content)
        rows = [of_row[0].example for of_row in made if of_row]  # of all pairs of a row the images are the same
        changed = Counter(note for example in rows for note in example.notes)
        images = [image for example in rows for image in example.images]
        facts = {
            "rows": len(pairs),
            "images": {"all": len(images), "with_position": sum(has_position(image.content) for image in images)},
            "bytes": len(content),
            "optional": optional,
            "notes": notes or {},
            "skips": skips,
            "changed": changed,
            "named": named,
            "pairs": [
                pair_keys(pair.example.images, pair.example.prompt, pair.chosen, pair.rejected)
                for of_row in made
                for pair in of_row
            ],
        }
        if self._keys:
            facts["keys"] = [split_keys(pair.example) for of_row in made for pair in of_row]
        write_atomic(description, json.dumps(facts))

    def describe(self, number: int) -> dict[str, Any]:
        """Rows, bytes, skips, what its pairs are known by, and which of the optional columns there are."""
        described: dict[str, Any] = json.loads(self._files(number)[1].read_text(encoding="utf-8"))
        return described

    def named_images(self) -> list[dict[str, str]]:
        """Of each table, the images that the finished blocks were made of. Another shard that merges meanwhile takes
        them away: of those that are gone nothing is known here."""
        numbers = sorted(int(file.stem) for file in self._folder.glob("*.json") if not file.name.startswith("."))
        found = []
        for number in numbers:
            with contextlib.suppress(FileNotFoundError):
                found.append(self.describe(number).get("named", []))
        return joined(found)

    def tables(self, count: int, arrow_schema: pa.Schema, wanted: Sequence[bool] | None = None) -> Iterator[pa.Table]:
        """The rows of the first ``count`` blocks in columns of the schema; one that a block lacks is null there.

        Args:
            wanted: which of all rows; None takes them all.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        for number in range(count):
            table = pq.read_table(self._files(number)[0])
            for field in arrow_schema:
                if field.name not in table.column_names:
                    table = table.append_column(field, pa.nulls(len(table), field.type))
            if wanted is not None:
                mask, wanted = wanted[: len(table)], wanted[len(table) :]
                table = table.filter(pa.array(mask, pa.bool_()))
            if len(table):
                yield table.select(arrow_schema.names).cast(arrow_schema)

    def remove(self) -> None:
        """Forget the blocks: the finished run no longer needs them."""
        shutil.rmtree(self._folder, ignore_errors=True)


def merge(
    blocks: Blocks, count: int, folder: Path, splits: Mapping[str, Sequence[bool] | None]
) -> list[dict[str, Any]]:
    """Write ``<split>-00000-of-0000N.parquet`` from the blocks, one row group in memory at a time.

    Args:
        splits: which of all rows each split has; None for all of them.

    Returns:
        path (relative to the run), sha256 and rows of every shard.
    """
    arrow_schema = schema({name for number in range(count) for name in blocks.describe(number)["optional"]})
    folder.mkdir(parents=True, exist_ok=True)
    for stale in (*folder.glob("*.parquet"), *folder.glob(".*.tmp")):
        stale.unlink()
    written = []
    for split, wanted in splits.items():
        written += _write_split(blocks.tables(count, arrow_schema, wanted), arrow_schema, folder, split)
    return written


def _write_split(tables: Iterator[pa.Table], arrow_schema: pa.Schema, folder: Path, split: str) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    written: list[tuple[Path, int]] = []
    for index, groups in enumerate(_shards(tables)):
        temporary = folder / f".{split}-{index:05d}.tmp"
        rows = 0
        with disk_errors(temporary), open(temporary, "wb") as file:
            # Content-defined chunks let the Hub store once what two versions of a dataset share.
            with pq.ParquetWriter(
                file, arrow_schema, write_page_index=True, use_content_defined_chunking=True
            ) as writer:
                for group in groups:
                    writer.write_table(group)
                    rows += len(group)
            file.flush()
            os.fsync(file.fileno())
        written.append((temporary, rows))
    files = []
    for index, (temporary, rows) in enumerate(written):
        path = folder / f"{split}-{index:05d}-of-{len(written):05d}.parquet"
        temporary.replace(path)
        files.append({"path": f"{folder.name}/{path.name}", "sha256": _sha256(path), "rows": rows})
    return files


def _shards(tables: Iterator[pa.Table]) -> Iterator[Iterator[pa.Table]]:
    """Row groups of bounded size, grouped into shards of bounded size."""
    groups = _row_groups(tables)
    pending = next(groups, None)
    while pending is not None:
        size = 0

        def shard() -> Iterator[pa.Table]:
            nonlocal pending, size
            while pending is not None and size < SHARD_BYTES:
                size += pending.nbytes
                yield pending
                pending = next(groups, None)

        yield shard()


def _row_groups(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    import pyarrow as pa

    pending: list[pa.Table] = []
    for table in tables:
        pending.append(table)
        if sum(part.nbytes for part in pending) >= ROW_GROUP_BYTES:
            yield pa.concat_tables(pending).combine_chunks()
            pending = []
    if pending:
        yield pa.concat_tables(pending).combine_chunks()


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
