"""Settings of everything that is drawn from a policy; reading and checking them loads no torch.

Sampling means sampling: tokens are drawn from the policy as it is (temperature 1, top_p 1, no top_k, no repetition
penalty), whatever the model's ``generation_config`` says. Several models ship one that makes sampling greedy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from mmpref.errors import UsageError
from mmpref.recipes.names import names
from mmpref.recipes.schema import OPTIONAL
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
        own: as `mmpref.vlm.decoding.generation_config_values` reads them.
    """
    named = settings if OFF.keys() <= settings.keys() else settings.get("bdhs", {})
    if own is None or not OFF.keys() <= named.keys():
        return {}
    values = {name: named[name] for name in OFF}
    return {"sampling": Decoding(1, bool(named.get("greedy", False)), **values).resolved(own).facts()}


AUTO: Literal["auto"] = "auto"
RHO_TH = 0.99
"""The paper's."""
BATCH_SIZE = 64
"""Branches decoded together, unless something else is said."""


def rows_of(batch_size: int | Literal["auto"]) -> int:
    """Branches decoded together; where memory was to decide that and nobody has asked it, `BATCH_SIZE`."""
    return BATCH_SIZE if batch_size == AUTO else int(batch_size)


@dataclass(frozen=True)
class BdhsSettings(SamplingSettings):
    """Parameters of algorithm 1, with the paper's values.

    Args:
        rho_th: an image token is kept where u >= rho_th, u ~ U(0, 1), drawn anew for every try; 0 keeps all, 1 none.
            0.99 unless something else is said; ``auto`` lets the first rows of a build decide (`mmpref.sampling.rho`).
        visible_tokens: the same in a unit that carries over between models: how many image tokens of a prompt stay
            visible in the mean, in the place of rho_th; a prompt that has no more than that shows all of them.
        iterations: N_BDHS, tries a pair. With more than one, the last try is unguided and always taken.
        guidance: continue the reference's sentences; without it every try writes a whole answer.
        noise_steps: the noise variant: show the image after so many of 1000 diffusion steps instead of masking.
        positions: ``original`` keeps the positions of what is left (masking, exactly); ``compact`` renumbers.
        similarity_threshold: eps_s, a try is taken where the cosine of both answers is below it.
        similarity_model: a sentence-transformers model: ``ID``, ``ID@REVISION`` or a folder.
        max_tail_tokens: bound on one sentence's tail.
        max_answer_tokens: bound on an unguided answer.
        keep_cut_off: take answers that one of these bounds cut off; else their rows are skipped, and counted.
        greedy: take the most probable token always, where the paper samples.
        batch_size: branches decoded together; ``auto`` lets the memory of an accelerator decide, and is 64 on a CPU.
    """

    rho_th: float | Literal["auto"] | None = None
    visible_tokens: float | None = field(default=None, metadata=OPTIONAL)
    iterations: int = 5
    guidance: bool = True
    noise_steps: int | None = None
    positions: Literal["original", "compact"] = "original"
    similarity_threshold: float = 0.97
    similarity_model: str = field(default="sentence-transformers/all-mpnet-base-v2", metadata=names("embedder"))
    max_tail_tokens: int = 96
    max_answer_tokens: int = 512
    keep_cut_off: bool = False
    greedy: bool = False
    batch_size: int | Literal["auto"] = BATCH_SIZE

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rho_th is None and self.visible_tokens is None:
            object.__setattr__(self, "rho_th", RHO_TH)
        if self.rho_th is not None and self.visible_tokens is not None:
            raise UsageError(
                "rho_th and visible_tokens say the same thing, and both are given.", "Leave one of them out."
            )
        if isinstance(self.rho_th, int | float) and not 0 <= self.rho_th <= 1:
            raise UsageError(f"rho_th is {self.rho_th}; it must lie between 0 and 1.")
        if self.visible_tokens is not None and not 0 <= self.visible_tokens < math.inf:
            raise UsageError(f"visible_tokens is {self.visible_tokens}; it must be at least 0.")
        if math.isnan(self.similarity_threshold):
            raise UsageError("similarity_threshold is not a number.", "The paper's is 0.97.")
        for name in ("iterations", "max_tail_tokens", "max_answer_tokens", "batch_size"):
            if (value := getattr(self, name)) != AUTO and value < 1:
                raise UsageError(f"{name} is {value}; it must be at least 1.")
        if self.noise_steps is not None and not 0 <= self.noise_steps <= 1000:
            raise UsageError(f"noise_steps is {self.noise_steps}; it must lie between 0 and 1000.")
        if self.noise_steps is not None and (self.rho_th == AUTO or self.visible_tokens is not None):
            raise UsageError(
                "The noise variant hides no image token: visible_tokens, and rho_th auto, mean nothing there.",
                "Leave them out, or noise_steps.",
            )

    def rho(self, image_tokens: int) -> float:
        """The threshold rho_th for a prompt of so many image tokens."""
        if self.visible_tokens is not None:
            return max(0.0, 1 - self.visible_tokens / image_tokens) if image_tokens else 0.0
        if not isinstance(self.rho_th, int | float):
            raise ValueError("rho_th is to be chosen first (mmpref.sampling.rho).")
        return self.rho_th
