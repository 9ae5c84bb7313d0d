"""``python -m tests.align.fsdp2 ARGUMENTS``: mmpref in a launched process, with FSDP on a CPU.

accelerate takes a launcher's FSDP settings, and on CPUs trains data parallel all the same (`AcceleratorState`, 1.15.0);
torch's `fully_shard` needs no accelerator. So the state is told what it was asked for; everything else is real.
"""

from __future__ import annotations

from typing import Any

from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType

from mmpref.cli.main import main

given = AcceleratorState.__init__


def init(state: Any, *args: Any, fsdp_plugin: Any = None, **settings: Any) -> None:
    given(state, *args, fsdp_plugin=fsdp_plugin, **settings)
    if fsdp_plugin is not None and state.distributed_type == DistributedType.MULTI_CPU:
        state.distributed_type = PartialState._shared_state["distributed_type"] = DistributedType.FSDP
        state.fsdp_plugin = fsdp_plugin
        if state._mixed_precision != "no":
            fsdp_plugin.set_mixed_precision(state._mixed_precision)


def run(words: list[str] | None = None) -> None:
    """``mmpref WORDS...``, by default those of the command line."""
    AcceleratorState.__init__ = init
    main(words)


if __name__ == "__main__":
    run()
