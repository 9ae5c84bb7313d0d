"""``python -m tests.align.zero3 ARGUMENTS``: mmpref in a launched process, with DeepSpeed ZeRO-3 on a CPU.

accelerate takes a launcher's DeepSpeed settings, and on CPUs trains data parallel all the same (`AcceleratorState`,
1.15.0); DeepSpeed itself has a CPU among its accelerators. So the state is told what it was asked for; everything else
is real.
"""

from __future__ import annotations

from typing import Any

from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType

from mmpref.cli.main import main

given = AcceleratorState.__init__


def init(state: Any, *args: Any, deepspeed_plugin: Any = None, **settings: Any) -> None:
    given(state, *args, deepspeed_plugin=deepspeed_plugin, **settings)
    if deepspeed_plugin is not None and state.distributed_type == DistributedType.MULTI_CPU:
        state.distributed_type = PartialState._shared_state["distributed_type"] = DistributedType.DEEPSPEED
        deepspeed_plugin.set_mixed_precision(state._mixed_precision)
        deepspeed_plugin.select(_from_accelerator_state=True)
        state._mixed_precision, state.deepspeed_plugins = "no", deepspeed_plugin


if __name__ == "__main__":
    AcceleratorState.__init__ = init
    main()
