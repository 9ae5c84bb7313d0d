"""Rows of the decoding pool and of a block, where memory is to decide them: once in a run, which goes on so."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Literal

from mmpref.log import logger
from mmpref.run.directory import Run
from mmpref.sampling.settings import AUTO, BATCH_SIZE

if TYPE_CHECKING:
    from mmpref.data.policy_loader import PolicyLoader

POOL = "pool"
"""What is pinned of the choice."""
BLOCK_SIZE = 32
"""Rows of a block, unless something else is said."""
SENTENCES = 5
"""Rows of the pool that a pair asks for at a time, one a sentence."""


def decide_sizes(
    run: Run, policy: PolicyLoader, settings: Any, block_size: int | Literal["auto"], uses_model: bool
) -> tuple[Any, int]:
    """The method's settings with a number for ``batch_size``, and the rows of a block: those that were asked for, and
    what memory decides for each that is ``auto``. On a CPU that is what they are by default.

    Args:
        settings: a config instance of the method.
        uses_model: there is a model in this process whose memory decides.
    """
    width = getattr(settings, "batch_size", None)
    if AUTO not in (width, block_size):
        return settings, int(block_size)
    facts = run.pinned(POOL) or run.pin(POOL, _chosen(policy) if uses_model else _plain())
    if width == AUTO:
        policy.pool_tokens = facts["tokens"]
        settings = dataclasses.replace(settings, batch_size=facts["rows"])
    return settings, facts["block"] if block_size == AUTO else int(block_size)


def _plain() -> dict[str, Any]:
    return {"rows": BATCH_SIZE, "block": BLOCK_SIZE, "tokens": None}


def _chosen(load: PolicyLoader) -> dict[str, Any]:
    from mmpref.vlm.pool_memory import pool_memory

    policy = load()
    memory = pool_memory(policy) if policy.device.type != "cpu" else None
    if memory is None:
        return _plain()
    rows, block = memory.rows, max(BLOCK_SIZE, memory.rows // SENTENCES)
    logger.info("%s: %d rows are decoded together, in blocks of %d rows of the source.", memory, rows, block)
    return {"rows": rows, "block": block, "tokens": memory.tokens, **dataclasses.asdict(memory)}
