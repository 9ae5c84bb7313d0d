"""The commands on a case's files, in this process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from mmpref.cli.main import program

HERE = Path(__file__).parent
MODEL = "pkg:mmpref.testbed/model"
SMALL = (
    "--set",
    "trainer.max_steps=2",
    "--set",
    "trainer.per_device_train_batch_size=2",
    "--set",
    "lora.r=4",
    "--set",
    "lora.alpha=8",
)


def done(*arguments: object) -> dict[str, Any]:
    """What a command that succeeds prints with ``--json``."""
    result = CliRunner().invoke(program, [*map(str, arguments), "--json"])
    assert result.exit_code == 0, (result.output, result.exception)
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def refused(*arguments: object) -> str:
    """What is said by a command that fails with an error of its own."""
    from mmpref.errors import MmprefError

    result = CliRunner().invoke(program, [*map(str, arguments)])
    assert isinstance(result.exception, MmprefError), (result.output, result.exception)
    return str(result.exception)


def value(found: dict[str, Any], metric: str) -> dict[str, Any]:
    """The base's row of a metric over all samples."""
    place = (metric, "all", "base")
    rows = found["results"]
    return next(row for row in rows if (row["metric"].partition("@")[0], row["split"], row["model"]) == place)
