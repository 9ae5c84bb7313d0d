"""What a model does to logits behind its output layer. Configurations name scales and caps that some classes apply and
others do not, so the model's own logits decide."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mmpref.errors import ModelError

if TYPE_CHECKING:
    import torch

_FACTORS = ("logit_scale", "output_multiplier", "lm_head_multiplier")
_EITHER_WAY = "logits_scaling"
"""Some models divide by it, and some multiply."""
_CAP = "final_logit_softcapping"
_OFF_BY = 0.05
"""Of the largest logit: what may be left between the model's logits and those that are told."""


@dataclass(frozen=True)
class LogitScaling:
    """Logits are multiplied, and then capped smoothly.

    Args:
        cap: no logit is further from 0; None for none.
    """

    factor: float = 1.0
    cap: float | None = None

    def __call__(self, logits: torch.Tensor) -> torch.Tensor:
        scaled = logits if self.factor == 1 else logits * self.factor
        return scaled if self.cap is None else (scaled / self.cap).tanh() * self.cap


def find_scaling(model: Any, ids: Sequence[int], name: str) -> LogitScaling:
    """The one of those that its configuration may mean that a model applies, told by its logits of a few tokens.

    Args:
        model: with its output layer, in eval mode.
        ids: of tokens of text.
        name: of the model, for messages.

    Raises:
        ModelError: it is none of them.
    """
    import torch

    device = model.device
    last: list[torch.Tensor] = []
    hook = model.get_decoder().register_forward_hook(
        lambda _module, _args, output: last.append(output.last_hidden_state)
    )
    asked = torch.tensor([[*ids]], device=device)
    try:
        with torch.inference_mode():
            own = model(input_ids=asked, attention_mask=torch.ones_like(asked), use_cache=False).logits.float()
            raw = model.get_output_embeddings()(last[0]).float()
    finally:
        hook.remove()
    found = min(_meant(model), key=lambda scaling: float((scaling(raw) - own).abs().max()))
    if not float((found(raw) - own).abs().max()) <= _OFF_BY * float(own.abs().max()):
        raise ModelError(
            f"{name} changes its logits behind its output layer in an unknown way.",
            "Supported model types: mmpref list families.",
        )
    return found


def names_scaling(model: Any) -> bool:
    """Whether a model's configuration says anything of it, applied or not."""
    return len(_meant(model)) > 1


def _meant(model: Any) -> list[LogitScaling]:
    """All that a configuration may mean; the first changes nothing."""
    config = model.config.get_text_config()
    factors = [float(value) for name in _FACTORS if (value := getattr(config, name, None))]
    either = getattr(config, _EITHER_WAY, None)
    factors += [1 / either, float(either)] if either else []
    cap = getattr(config, _CAP, None)
    return [
        LogitScaling(factor, cap)
        for cap, factor in itertools.product([None, *([float(cap)] if cap else [])], dict.fromkeys([1.0, *factors]))
    ]


@contextlib.contextmanager
def named_as(model: Any, scaling: LogitScaling) -> Iterator[None]:
    """Within it a model's configuration names what the model applies, for TRL, whose output layer goes by the
    configuration alone."""
    config = model.config.get_text_config()
    named = {_FACTORS[0]: scaling.factor, _CAP: scaling.cap}
    before = {name: getattr(config, name) for name in named if hasattr(config, name)}
    try:
        for name, value in named.items():
            setattr(config, name, value)
        yield
    finally:
        for name in named:
            if name in before:
                setattr(config, name, before[name])
            else:
                delattr(config, name)
