"""How tokens are chosen, without torch. A model's ``generation_config`` acts only where it is asked for by name.

Of that file only what decides which tokens there are always acts: those that end an answer (``eos_token_id``) and those
that are never written (``suppress_tokens``, and ``bad_words_ids`` of one token).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from mmpref.errors import UsageError

FromModel = Literal["model"]
MODEL: FromModel = "model"
"""In the place of a number: what the model's ``generation_config`` says, or off where it says nothing."""

OFF: dict[str, float] = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "repetition_penalty": 1.0}
"""What each setting is where it changes nothing: tokens are drawn from the policy as it is."""


@dataclass(frozen=True)
class Decoding:
    """How the tokens of an answer are chosen.

    Args:
        max_new_tokens: per branch.
        greedy: take the most probable token; otherwise sample, by temperature, top_p and top_k.
        temperature: above 0; 1 leaves the policy as it is.
        top_p: above 0, at most 1, which is off.
        top_k: at least 0, which is off.
        repetition_penalty: over the text tokens of prompt and answer, greedy or not; 1 is off.
        seed: of the random streams.

    Raises:
        UsageError: a value that no text can be written with.
    """

    max_new_tokens: int = 128
    greedy: bool = True
    temperature: float | FromModel = 1.0
    top_p: float | FromModel = 1.0
    top_k: int | FromModel = 0
    repetition_penalty: float | FromModel = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise UsageError(f"max_new_tokens is {self.max_new_tokens}; it must be at least 1.")
        for name in OFF:
            if (value := getattr(self, name)) != MODEL and (must := _fault(name, value)):
                raise UsageError(f"{name} is {value}; it must be {must}, or 'model'.", _HINTS.get(name, ""))

    def resolved(self, own: Mapping[str, float]) -> Decoding:
        """The same with the model's own values in the place of ``model``.

        Args:
            own: as `generation_config_values` reads them.

        Raises:
            UsageError: the model's own value cannot be used.
        """
        wanted: dict[str, Any] = {name: own.get(name, off) for name, off in OFF.items() if getattr(self, name) == MODEL}
        if self.greedy:  # What only samples is not looked at.
            wanted = {name: value if name == "repetition_penalty" else OFF[name] for name, value in wanted.items()}
        for name, value in wanted.items():
            if must := _fault(name, value):
                raise UsageError(
                    f"{name} of the model's generation_config is {value}; it must be {must}.",
                    f"Name a number: {name}={OFF[name]:g}",
                )
        return replace(self, **wanted)

    def facts(self) -> dict[str, Any]:
        """What decides how tokens are chosen, for a manifest."""
        facts = asdict(self)
        names = ["repetition_penalty"] if self.greedy else list(OFF)
        return {"greedy": self.greedy, **{name: facts[name] for name in names}}


_HINTS = {"temperature": "For the most probable token always: greedy: true"}


def _fault(name: str, value: Any) -> str:
    """What a value must be instead, or nothing where it is fine."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "a number"
    if name == "top_p":
        return "" if 0 < value <= 1 else "above 0 and at most 1"
    if name == "top_k":
        return "" if value >= 0 and value == int(value) else "a whole number of at least 0, which is off"
    return "" if value > 0 and math.isfinite(value) else "above 0 and finite"


def generation_config_values(generation_config: Any) -> dict[str, float]:
    """The model's own settings, as far as its ``generation_config`` states them."""
    stated = {name: getattr(generation_config, name, None) for name in OFF}
    return {name: value for name, value in stated.items() if value is not None}


_NEUTRAL = {
    "num_beams": 1,
    "no_repeat_ngram_size": 0,
    "min_length": 0,
    "min_new_tokens": 0,
    "min_p": 0,
    "top_h": None,
    "typical_p": 1,
    "epsilon_cutoff": 0,
    "eta_cutoff": 0,
    "encoder_repetition_penalty": 1,
    "encoder_no_repeat_ngram_size": 0,
    "exponential_decay_length_penalty": None,
    "begin_suppress_tokens": None,
    "forced_bos_token_id": None,
    "forced_eos_token_id": None,
    "sequence_bias": None,
    "guidance_scale": 1,
    "penalty_alpha": 0,
    "stop_strings": None,
}


def ignored_settings(generation_config: Any) -> list[str]:
    """What a ``generation_config`` sets that `generate` would go by, and nothing here does."""
    ignored = [
        name for name, neutral in _NEUTRAL.items() if getattr(generation_config, name, None) not in (None, neutral)
    ]
    phrases = any(len(ids) > 1 for ids in getattr(generation_config, "bad_words_ids", None) or [])
    return [*ignored, *(["bad_words_ids of several tokens"] if phrases else [])]
