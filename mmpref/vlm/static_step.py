"""A decoding step whose shapes are those of few buckets, so that a recorded one can be replayed; which kind of step a
pool takes is chosen here alone.

* plain: as many rows as there are, and the slots that they fill.
* static: rows filled up to a power of two, slots to one of four sizes between two
  powers of two. It costs what is filled up.
* graph: static, and recorded as a CUDA graph once a bucket: a replay launches all its kernels at once, where a small
  step otherwise waits for Python. **Not run on a GPU yet**, so that nothing chooses it by itself.

What is filled up is hidden by the step's mask: no row's tokens depend on it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch.nn.functional import pad
from transformers.cache_utils import Cache, CacheLayerMixin

from mmpref.errors import UsageError

if TYPE_CHECKING:
    from mmpref.vlm.attention import Attention
    from mmpref.vlm.policy import Policy
    from mmpref.vlm.row_cache import RowCache

Kind = Literal["plain", "static", "graph"]

WARM = 2
"""Steps of a bucket that run as they are before it is recorded: libraries set themselves up, and a bucket that is
hardly used is not worth it."""


def choose(asked: str, policy: Policy) -> Kind:
    """The kind of step for a policy's pools.

    Args:
        asked: ``auto``, ``plain``, ``static`` or ``graph``.

    Raises:
        UsageError: a graph is asked for where there can be none.
    """
    if asked == "static":
        return "static"
    if asked == "graph":
        if reason := no_graph(policy):
            raise UsageError(f"A step cannot be recorded: {reason}.", "Leave the policy's `steps` as they are: auto.")
        return "graph"
    return "plain"


def no_graph(policy: Policy) -> str | None:
    """Why a step cannot be a CUDA graph; None where it can."""
    if policy.device.type != "cuda":
        return f"CUDA graphs need a CUDA GPU, and the model is on a {policy.device.type}"
    if len(set((getattr(policy.base_model, "hf_device_map", None) or {}).values())) > 1:
        return "the model is on several devices"
    config = policy.decoder.config
    if any(getattr(config, name, None) for name in ("num_experts", "num_local_experts", "n_routed_experts")):
        return "which experts a token takes is only known on the device"
    return None


@dataclass(frozen=True)
class StepInputs:
    """What a step reads that is new in it. Of R rows and S slots, both of a bucket.

    Args:
        embeds: [R, 1, H].
        positions: long [R, 1], or [A, R, 1].
        masks: [R, 1, 1, S] of each kind of layer, by its name; where all are of one kind, under an empty name.
        slots: long [R, 1], which each row writes.
    """

    embeds: torch.Tensor
    positions: torch.Tensor
    masks: dict[str, torch.Tensor]
    slots: torch.Tensor

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and slots."""
        mask = next(iter(self.masks.values()))
        return mask.shape[0], mask.shape[-1]

    def copy(self) -> StepInputs:
        """The same in tensors of its own."""
        masks = {kind: mask.clone() for kind, mask in self.masks.items()}
        return StepInputs(self.embeds.clone(), self.positions.clone(), masks, self.slots.clone())

    def take(self, others: StepInputs) -> None:
        """Let these tensors hold what others hold."""
        self.embeds.copy_(others.embeds)
        self.positions.copy_(others.positions)
        self.slots.copy_(others.slots)
        for kind, mask in self.masks.items():
            mask.copy_(others.masks[kind])


Buffers = list[tuple[torch.Tensor, torch.Tensor]]
"""Keys and values [R, heads, S, width] of each layer; a step writes its own into them."""
Replay = Callable[[], torch.Tensor]
"""Runs a recorded step again on what its inputs hold now; its hidden states [R, H], until the next time."""
Record = Callable[[Callable[[], torch.Tensor]], Replay]


def run(decoder: Any, inputs: StepInputs, buffers: Buffers) -> torch.Tensor:
    """One token of every row; last hidden states [R, H]. Nothing in it depends on what tensors hold."""
    masks = inputs.masks
    hidden: torch.Tensor = decoder(
        inputs_embeds=inputs.embeds,
        attention_mask=masks.get("", masks),
        position_ids=inputs.positions,
        past_key_values=Cache(layers=[_Layer(keys, values, inputs.slots) for keys, values in buffers]),
        use_cache=True,
    ).last_hidden_state
    return hidden[:, -1]


class StaticStep:
    """The steps of one pool.

    Args:
        record: a step, for replays of it; None: each is run as it is.
        run_step: `run`, or the same compiled.
    """

    def __init__(self, decoder: Any, attention: Attention, record: Record | None, run_step: Any = run) -> None:
        self._decoder, self._attention, self._record, self._run = decoder, attention, record, run_step
        self._uses: Counter[tuple[int, int]] = Counter()
        self._recorded: dict[tuple[int, int], tuple[StepInputs, Replay]] = {}
        self._version = -1

    def __call__(self, embeds: torch.Tensor, cache: RowCache) -> torch.Tensor:
        """Run one token [n, 1, H] for every row of the cache; last hidden states [n, H]."""
        assert cache.buckets is not None
        rows, count = len(embeds), cache.buckets.rows(len(embeds))
        positions, masks = self._attention.step_inputs(cache, count - rows, embeds.dtype)
        filled = pad(embeds, (0, 0, 0, 0, 0, count - rows))
        inputs = StepInputs(filled, positions, masks if isinstance(masks, dict) else {"": masks}, cache.slots)
        if cache.version != self._version:  # what was recorded writes into buffers that are no longer the cache's
            self._recorded.clear()
            self._version = cache.version
        return self._step(inputs, cache.buffers(count))[:rows]

    def _step(self, inputs: StepInputs, buffers: Buffers) -> torch.Tensor:
        shape = inputs.shape
        self._uses[shape] += 1
        if self._record is None or self._uses[shape] <= WARM:
            return self._run(self._decoder, inputs, buffers)
        if shape not in self._recorded:
            own = inputs.copy()
            self._recorded[shape] = own, self._record(lambda: self._run(self._decoder, own, buffers))
        own, replay = self._recorded[shape]
        own.take(inputs)
        return replay().clone()


def static_step(policy: Policy, attention: Attention) -> StaticStep | None:
    """The static steps of a pool, or None where they are plain."""
    kind = choose(policy.steps, policy)
    if kind == "plain":
        return None
    return StaticStep(policy.decoder, attention, _Recorder() if kind == "graph" else None)


class _Recorder:
    """CUDA graphs that share the memory of what is in between. Not run on a GPU yet."""

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, step: Callable[[], torch.Tensor]) -> Replay:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            hidden = step()

        def replay() -> torch.Tensor:
            graph.replay()
            return hidden

        return replay


class _Layer(CacheLayerMixin):
    """One decoder layer of rows in buffers, all of whose slots are read."""

    is_sliding = False

    def __init__(self, keys: torch.Tensor, values: torch.Tensor, slots: torch.Tensor) -> None:
        super().__init__()
        self.keys, self.values, self._slots = keys, values, slots
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        slots = self._slots[:, None, :, None]
        self.keys.scatter_(2, slots.expand_as(key_states), key_states)
        self.values.scatter_(2, slots.expand_as(value_states), value_states)
        return self.keys, self.values

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        raise RuntimeError("a step has its buffers already")

    def get_seq_length(self) -> int:
        return self.keys.shape[2] - 1

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.keys.shape[2], 0

    def get_max_length(self) -> int:
        return -1
