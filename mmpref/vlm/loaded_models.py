"""Models that a caller has loaded: by which name the loader finds one while a call lasts."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from mmpref.errors import ModelError
from mmpref.tables.in_memory import is_in_memory
from mmpref.types import ModelRef

if TYPE_CHECKING:
    from mmpref.vlm.policy import Policy

_REGISTERED: dict[str, Policy] = {}


@contextlib.contextmanager
def registered(name: str, policy: Policy) -> Iterator[None]:
    """Within it whoever loads the model of this name gets the policy."""
    _REGISTERED[name] = policy
    try:
        yield
    finally:
        del _REGISTERED[name]


def registered_policy(ref: ModelRef) -> Policy | None:
    """The policy that a caller has loaded and registered, if the reference means exactly that.

    Raises:
        ModelError: the name of a model in memory, which nobody has registered.
    """
    policy = _REGISTERED.get(ref.model)
    if policy and ref.adapter == policy.ref.adapter and ref.revision in (None, policy.ref.revision):
        return policy
    if is_in_memory(ref.model):
        raise ModelError(
            f"{ref.model} names a model in the memory of another process.",
            "Give mmpref the same model again in this one, or save it and name its folder.",
        )
    return None
