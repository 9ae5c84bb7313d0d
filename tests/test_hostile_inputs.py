"""No traceback in 1,000 hostile inputs: `scripts/hostile_inputs.py`, with another seed than its own."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

SCRIPTS = Path(__file__).parents[1] / "scripts"
AT_LEAST = {
    **{"files": 170, "rows": 150, "pictures": 100, "names": 600, "recipes": 140, "replies": 110, "documents": 150},
    "long": 25,
}
EACH = {"recipes": 8, "names": 14, "documents": 8}


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import hostile_inputs  # type: ignore[import-not-found]

    module: ModuleType = hostile_inputs
    assert module.__file__ is not None
    assert Path(module.__file__).parent == SCRIPTS
    assert set(module.KINDS) == set(AT_LEAST)
    return module


@pytest.mark.parametrize("kind", AT_LEAST)
def test_hostile_inputs_are_read_or_refused(kind: str, script: ModuleType) -> None:
    report = script.run(kind, seed=1, each=EACH.get(kind, 16))
    assert report.faults == []
    assert report.inputs >= AT_LEAST[kind]
    assert {outcome for _, outcome in report.outcomes} <= {"read", "refused"}


def test_a_fault_is_seen(script: ModuleType) -> None:
    report = script.Report()
    report.run("files", "one", lambda: 1 // 0)
    assert "ZeroDivisionError" in report.faults[0]
    assert report.outcomes == {("files", "traceback"): 1}


def test_there_are_a_thousand() -> None:
    assert sum(AT_LEAST.values()) >= 1000
    assert sys.getrecursionlimit() <= 1000  # a deeper one would hide what nested inputs do


def test_blank_lines_of_a_reply_take_no_time() -> None:
    from mmpref.judges.claims import claims_in

    begun = time.process_time()
    assert claims_in("\n " * 20_000) is None
    assert claims_in("\n " * 2_000 + " - A dog.\n\n2) A cat. \n- A dog.") == ["A dog.", "A cat."]
    assert time.process_time() - begun < 2


def test_offsets_that_lead_out_of_an_arrow_file_do_not_end_the_process(tmp_path: Path) -> None:
    import pyarrow as pa

    from mmpref.errors import InputError
    from mmpref.tables.open import open_table

    schema, file = pa.schema([("caption", pa.string())]), tmp_path / "rows.arrow"
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_stream(sink, schema) as stream:
        stream.write_batch(pa.RecordBatch.from_arrays([pa.array(["A dog."])], schema=schema))
    content, offsets = file.read_bytes(), bytes([0, 0, 0, 0, 6, 0, 0, 0])
    at = content.rindex(offsets)
    file.write_bytes(content[: at + 4] + bytes([0xFF, 0xFF, 0xFF, 0x3F]) + content[at + 8 :])
    with pytest.raises(InputError, match="cannot be read as Arrow"):
        list(open_table(str(file)))
