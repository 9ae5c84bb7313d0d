"""Preference data and small recipes for the alignment tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import continued

MODEL = "pkg:mmpref.testbed/model"


@pytest.fixture(scope="session")
def preferences(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set folder in mmpref's own shape: 24 pairs, each rejected answer being the one to another image."""
    import datasets

    from mmpref.tables.open import open_table

    rows = [row for _, row in zip(range(25), open_table("testbed"), strict=False)]
    others = [row["completion"] for row in rows[1:]]
    pairs = [
        {**{name: row[name] for name in ("images", "prompt", "id")}, "chosen": row["completion"], "rejected": other}
        for row, other in zip(rows[:24], others, strict=True)
        if row["completion"] != other
    ]
    message = datasets.List({"role": datasets.Value("string"), "content": datasets.Value("string")})
    features = datasets.Features(
        {
            "images": datasets.List(datasets.Image()),
            "prompt": message,
            "chosen": message,
            "rejected": message,
            "id": datasets.Value("string"),
        }
    )
    folder = tmp_path_factory.mktemp("preferences")
    (folder / "data").mkdir()
    datasets.Dataset.from_list(pairs, features=features).to_parquet(folder / "data" / "train-00000-of-00001.parquet")
    return folder


@pytest.fixture(scope="session")
def doubly_rejected(preferences: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same pairs, most of them with a second rejected answer, all with the numbers that a method may weigh by."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    [file] = (preferences / "data").iterdir()
    rows = pq.read_table(file).to_pylist()
    seconds = [*rows[3:], *rows[:3]]
    for number, (row, other) in enumerate(zip(rows, seconds, strict=True)):
        row["rejected_policy"] = other["rejected"] if number % 6 else None
        row["severity"], row["hardness"] = 1.0 + number % 3, number / 10
        row["rejected_weights"] = [{"begin": 0, "end": 3, "weight": 2.0}] if number % 2 else []
    folder = tmp_path_factory.mktemp("second")
    schema = pq.read_schema(file)
    schema = schema.append(schema.field("rejected").with_name("rejected_policy")).remove_metadata()
    for name in ("severity", "hardness"):
        schema = schema.append(pa.field(name, pa.float64()))
    spans = pa.list_(pa.struct([("begin", pa.int64()), ("end", pa.int64()), ("weight", pa.float64())]))
    schema = schema.append(pa.field("rejected_weights", spans))
    pq.write_table(pa.Table.from_pylist(rows, schema), folder / "train.parquet")
    return folder / "train.parquet"


@pytest.fixture(scope="session")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve pairs of next sentences, of which eight continue a context."""
    return continued.write(tmp_path_factory.mktemp("contexts"))
