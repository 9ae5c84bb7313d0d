"""As a program: builds several datasets, or reads sources, in one process that talks to the tests' Hub.

``python -m tests.data.published.build '[["build", ["--method", "povid", ...]], ["read", {"source": ...}]]'`` prints a
JSON object a line: a manifest, the refusal, or the outcomes of a source.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import Any

from mmpref.errors import MmprefError
from mmpref.types import Skip


def build(arguments: list[str]) -> dict[str, Any]:
    from click.testing import CliRunner

    from mmpref.cli.main import program

    done = CliRunner().invoke(program, ["build-dataset", "--json", *arguments])
    if isinstance(done.exception, MmprefError):
        return {"error": str(done.exception)}
    assert done.exit_code == 0, (done.output, done.exception)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def read(given: dict[str, Any]) -> dict[str, Any]:
    from mmpref.data.sources import Source
    from mmpref.tables.open import open_table

    try:
        table = open_table(given["source"], given.get("split"))
        outcomes = [
            row for _, block in Source(table, given.get("image_root", ())).blocks(8, lambda _: True) for row in block
        ]
    except MmprefError as error:
        return {"error": str(error)}
    return {
        "rows": [
            dataclasses.asdict(row)
            if isinstance(row, Skip)
            else {"id": row.id, "prompt": row.prompt[-1].content, "answer": row.answer, "images": len(row.images)}
            for row in outcomes
        ]
    }


if __name__ == "__main__":
    for what, given in json.loads(sys.argv[1]):
        print(json.dumps({"build": build, "read": read}[what](given)), flush=True)
