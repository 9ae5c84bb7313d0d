"""Settings of everything that is drawn from a policy; reading and checking them loads no torch.

Sampling means sampling: tokens are drawn from the policy as it is (temperature 1, top_p 1, no top_k, no repetition
penalty), whatever the model's ``generation_config`` says. Several models ship one that makes sampling greedy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mmpref.errors import UsageError
from mmpref.vlm.decoding import OFF, Decoding, FromModel


@dataclass(frozen=True)
class SamplingSettings:
    """How tokens are drawn. Each is a number, or ``model`` for what the model's ``generation_config`` says.

    Args:
        temperature: of sampling.
        top_p: at 1 off.
        top_k: at 0 off.
        repetition_penalty: over the text tokens of prompt and answer, at 1 off; for greedy answers too.
    """

    temperature: float | FromModel = 1.0
    top_p: float | FromModel = 1.0
    top_k: int | FromModel = 0
    repetition_penalty: float | FromModel = 1.0

    def __post_init__(self) -> None:
        self.decoding(1, 0)
        if getattr(self, "greedy", False):
            for name in ("temperature", "top_p", "top_k"):
                if getattr(self, name) != OFF[name]:
                    raise UsageError(
                        f"{name} is {getattr(self, name)}, but answers are greedy, which takes no notice of it.",
                        "To sample: greedy: false",
                    )

    def decoding(self, max_new_tokens: int, seed: int) -> Decoding:
        """These settings for answers of so many tokens."""
        return Decoding(
            max_new_tokens,
            getattr(self, "greedy", False),
            self.temperature,
            self.top_p,
            self.top_k,
            self.repetition_penalty,
            seed,
        )


def sampling_facts(settings: Mapping[str, Any], own: Mapping[str, float] | None) -> dict[str, Any]:
    """What tokens were really drawn by, for a manifest: ``{"sampling": ...}``, the model's own values in the place of
    ``model``; nothing for a method that draws from no policy.

    Args:
        settings: of a method, as a recipe has them; BDHS's may stand inside another's.
        own: as `mmpref.vlm.decoding.own_values` reads them.
    """
    named = settings if OFF.keys() <= settings.keys() else settings.get("bdhs", {})
    if own is None or not OFF.keys() <= named.keys():
        return {}
    values = {name: named[name] for name in OFF}
    return {"sampling": Decoding(1, bool(named.get("greedy", False)), **values).resolved(own).facts()}
