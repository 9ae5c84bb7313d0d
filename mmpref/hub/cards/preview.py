"""What a card says about data files, read from the Parquet files themselves: sizes, columns, samples, language."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmpref.errors import InputError
from mmpref.hub.cards.markdown import clip, code, marked_pair, text
from mmpref.hub.cards.pictures import images_of_rows, small_pictures
from mmpref.words import EnglishWords

if TYPE_CHECKING:
    import pyarrow as pa
    from huggingface_hub import DatasetCardData

SAMPLES = 3
ANSWER, PROMPT = 600, 300
"""Characters that a card shows of one answer and of one prompt."""


@dataclass(frozen=True)
class Sample:
    """One pair as ready-made Markdown, and its pictures by path; `second` is the second rejected answer, if any."""

    id: str
    prompt: str
    chosen: str
    rejected: str
    similarity: str
    iterations: str
    second: str = ""
    pictures: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def shown(self) -> str:
        """The pictures, as Markdown."""
        return " ".join(f"![An image of the pair]({path})" for path in self.pictures)


@dataclass(frozen=True)
class Preview:
    """Facts of the splits of a folder.

    Args:
        splits: rows and uncompressed bytes of each, by its name.
        rows, images: how many in all.
        columns: their names, in order.
        download_size, dataset_size: bytes of the files, and of what they hold uncompressed.
        methods: how many rows each method has made.
        contexts: rows whose prompt ends in the beginning of an answer, which their answers continue.
        english: whether the texts are English, judged by its commonest words.
        samples: pairs spread evenly over the rows.
        schema: of the files.
    """

    splits: Mapping[str, tuple[int, int]]
    rows: int
    images: int
    columns: tuple[str, ...]
    download_size: int
    dataset_size: int
    methods: Mapping[str, int]
    contexts: int
    english: bool
    samples: tuple[Sample, ...]
    schema: pa.Schema

    def describe_in(self, data: DatasetCardData) -> None:
        """Add ``configs`` and ``dataset_info`` to a card's metadata."""
        from datasets import DatasetInfo, Features, SplitDict, SplitInfo
        from datasets.info import DatasetInfosDict

        info = DatasetInfo(
            features=Features.from_arrow_schema(self.schema),
            splits=SplitDict({name: SplitInfo(name, size, rows) for name, (rows, size) in self.splits.items()}),
            download_size=self.download_size,
            dataset_size=self.dataset_size,
        )
        DatasetInfosDict({"default": info}).to_dataset_card_data(data)
        files = [{"split": name, "path": f"data/{name}-*"} for name in self.splits]
        data["configs"] = [{"config_name": "default", "data_files": files}]


def preview(folder: Path, names: Sequence[str]) -> Preview:
    """Read the data files ``<split>-*.parquet`` of a folder; of their images those of the sample pairs.

    Args:
        names: of the splits.

    Raises:
        InputError: there are none, or they hold no row.
    """
    import pyarrow.parquet as pq

    by_split = {split: sorted(folder.glob(f"{split}-*.parquet")) for split in names}
    splits = {split: _size(of) for split, of in by_split.items()}
    for split, (count, _) in splits.items():
        if count == 0:
            raise InputError(f"{folder} has no rows of the split {split!r}.")
    files, rows = [file for of in by_split.values() for file in of], sum(count for count, _ in splits.values())
    schema = pq.read_schema(files[0])
    shown = {round(index * (rows - 1) / max(1, SAMPLES - 1)) for index in range(SAMPLES)}
    images = images_of_rows(files, shown)
    samples: list[Sample] = []
    english, methods, contexts = EnglishWords(), Counter[str](), 0
    for number, row in enumerate(_texts(files)):
        english.add(_text(row["chosen"]))
        methods[str(row["method"])] += 1
        contexts += row["prompt"][-1]["role"] == "assistant"
        if number in shown:
            pictures = small_pictures(len(samples) + 1, images.get(number, []))
            samples.append(replace(_sample(row), pictures=pictures))
    return Preview(
        splits=splits,
        rows=rows,
        images=_count_images(files),
        columns=tuple(schema.names),
        download_size=sum(file.stat().st_size for file in files),
        dataset_size=sum(size for _, size in splits.values()),
        methods=methods,
        contexts=contexts,
        english=english.are_english,
        samples=tuple(samples),
        schema=schema,
    )


def _size(files: Sequence[Path]) -> tuple[int, int]:
    """Rows of files, and bytes of what they hold uncompressed."""
    import pyarrow.parquet as pq

    metadata = [pq.read_metadata(file) for file in files]
    groups = [entry.row_group(index) for entry in metadata for index in range(entry.num_row_groups)]
    return sum(entry.num_rows for entry in metadata), sum(group.total_byte_size for group in groups)


def _texts(files: Sequence[Path]) -> Iterator[Mapping[str, Any]]:
    import pyarrow.parquet as pq

    columns = ["prompt", "chosen", "rejected", "id", "similarity", "iterations", "method"]
    if "rejected_policy" in pq.read_schema(files[0]).names:
        columns.append("rejected_policy")
    for file in files:
        for batch in pq.ParquetFile(file, pre_buffer=False).iter_batches(batch_size=256, columns=columns):
            yield from batch.to_pylist()


def _count_images(files: Sequence[Path]) -> int:
    """Images of all rows, by the lengths of the lists: only the small ``path`` leaf is read."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    names = pq.read_metadata(files[0]).schema
    paths = [names.column(index).path for index in range(len(names))]
    leaf = next((path for path in paths if path.startswith("images.") and path.endswith(".path")), None)
    total = 0
    for file in files if leaf else []:
        for batch in pq.ParquetFile(file, pre_buffer=False).iter_batches(batch_size=1024, columns=[leaf]):
            total += pc.sum(pc.list_value_length(batch.column(0))).as_py() or 0
    return total


def _sample(row: Mapping[str, Any]) -> Sample:
    chosen, rejected = marked_pair(_text(row["chosen"]), _text(row["rejected"]), ANSWER)
    similarity, second = row["similarity"], row.get("rejected_policy")
    return Sample(
        id=code(clip(str(row["id"]), 80)),
        prompt=text(clip("\n".join(f"{turn['role']}: {turn['content']}" for turn in row["prompt"]), PROMPT)),
        chosen=chosen,
        rejected=rejected,
        similarity="not measured" if similarity is None else f"{similarity:.3f}",
        iterations=str(row["iterations"]),
        second=marked_pair(_text(row["chosen"]), _text(second), ANSWER)[1] if second else "",
    )


def _text(turns: Sequence[Mapping[str, Any]]) -> str:
    return "\n".join(str(turn["content"]) for turn in turns)
