"""What an error of a command says where ``mmpref job`` has started it."""

from __future__ import annotations

import os

from mmpref.errors import MmprefError, StaleRunError

KEPT = "MMPREF_JOB_STATE"
"""Environment variable of a command that works in a job: what keeps its state, as messages name it."""


def name_in_job(error: MmprefError) -> None:
    """Have it name what a job has: ``--name`` for ``--output``, and beside the folder of a stale run the state that
    would bring it back."""
    if kept := os.environ.get(KEPT):
        error.hint = error.hint.replace("--output", "--name")
        if isinstance(error, StaleRunError):
            error.hint = error.hint.replace(f"delete {error.run}", f"delete {error.run} and {kept}")
