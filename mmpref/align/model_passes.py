"""Passes of the model in a training step as they come: log-probabilities by token, whole distributions if asked."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.utils.rnn import pad_sequence

from mmpref.align.pair_log_probs import PairLogProbs, PairTokens

if TYPE_CHECKING:
    from mmpref.vlm.policy import Policy


@dataclass(frozen=True)
class ModelPass:
    """One forward of a batch.

    Args:
        log_probs: [2B, S] of the answers' tokens, each where the one before it stands; 0 elsewhere.
        distributions: log-probabilities [N, V] of the whole vocabulary, of all answers' tokens in the order of rows;
            None where nobody asks.
    """

    log_probs: torch.Tensor
    distributions: torch.Tensor | None


class ModelPasses:
    """Records forwards of a model that TRL has prepared.

    Args:
        policy: around the model, where whole distributions are asked for. Its head is used once, since what it does to
            logits is found out by running the model.
    """

    def __init__(self, model: torch.nn.Module, policy: Policy | None) -> None:
        self._model, self._policy = model, policy
        if policy:
            size = policy.base_model.get_output_embeddings().weight.shape[1]
            with torch.no_grad():
                policy.head(torch.zeros(1, size, device=policy.device, dtype=policy.dtype))

    @contextlib.contextmanager
    def recorded(self) -> Iterator[list[ModelPass]]:
        """The forwards of the model within it."""
        passes: list[ModelPass] = []
        hidden: list[torch.Tensor] = []

        def keep(_module: Any, _args: Any, named: dict[str, Any], output: Any) -> None:
            distributions = None
            if self._policy and hidden:
                asked = named["labels"][:, 1:] != -100
                logits = self._policy.head(hidden.pop()[:, :-1][asked]).float()
                distributions = logits.log_softmax(-1)
            passes.append(ModelPass(output.log_probs, distributions))

        hooks = [self._model.register_forward_hook(keep, with_kwargs=True)]
        if self._policy:
            backbone = self._policy.base_model.base_model
            hooks.append(
                backbone.register_forward_hook(lambda _module, _args, output: hidden.append(output.last_hidden_state))
            )
        try:
            yield passes
        finally:
            for hook in hooks:
                hook.remove()


def pair_tokens(
    policy: ModelPass, reference: ModelPass, batch: dict[str, Any], weights: torch.Tensor | None = None
) -> PairTokens:
    """What policy and reference say of a batch by token.

    Args:
        batch: as TRL is given it: ``input_ids`` and ``completion_mask`` [2B, S + 1].
        weights: [2B, T] of the answers' tokens; None for 1.
    """
    mask = batch["completion_mask"][:, 1:].bool()
    lengths = mask.sum(1).tolist()
    of_tokens = pad_sequence([torch.ones(length, device=mask.device) for length in lengths], batch_first=True)
    kl = None
    if policy.distributions is not None and reference.distributions is not None:
        base = reference.distributions.detach()
        divergence = (base.exp() * (base - policy.distributions)).sum(-1)
        kl = pad_sequence(list(divergence.split(lengths)), batch_first=True)
    return PairTokens(
        _packed(policy.log_probs, mask),
        _packed(reference.log_probs.detach(), mask),
        _packed(batch["input_ids"][:, 1:], mask),
        of_tokens.bool(),
        of_tokens if weights is None else of_tokens * weights.to(of_tokens),
        kl,
    )


def policy_log_probs(model: Any, batch: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """Summed log-probabilities [B] of a batch's chosen and rejected answers, as a model that TRL has prepared says."""
    labels = batch["input_ids"].masked_fill(batch["completion_mask"] == 0, -100)
    inputs = {name: value for name, value in batch.items() if name != "completion_mask"}
    output = model(**inputs, labels=labels, use_cache=False, fused_lm_head=True)
    chosen, rejected = output.log_probs.sum(1).chunk(2)
    return chosen, rejected


def pair_log_probs(log_probs: torch.Tensor, reference: dict[str, torch.Tensor], batch: dict[str, Any]) -> PairLogProbs:
    """What a loss of our own is given of a batch, of whose answers the policy has said `log_probs` [2B]."""
    chosen, rejected = log_probs.chunk(2)
    chosen_tokens, rejected_tokens = batch["completion_mask"].sum(1).chunk(2)
    return PairLogProbs(
        chosen,
        rejected,
        reference["ref_chosen_logps"],
        reference["ref_rejected_logps"],
        chosen_tokens,
        rejected_tokens,
    )


def answer_sums(log_probs: torch.Tensor, batch: dict[str, Any], tail: float | None = None) -> torch.Tensor:
    """Log-probabilities [2B] of a batch's answers, summed over their tokens.

    Args:
        log_probs: by token [2B, S], 0 where there is none of an answer.
        tail: weight of the tokens beyond the length of the shorter answer of a pair (LD-DPO); None for 1.
    """
    if tail is None:
        return log_probs.sum(1)
    mask = batch["completion_mask"][:, 1:]
    shorter = torch.minimum(*mask.sum(1).chunk(2)).repeat(2)
    return torch.where(mask.cumsum(1) <= shorter[:, None], log_probs, tail * log_probs).sum(1)


def _packed(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The values [2B, T] of each row's answer, from its first token on."""
    return pad_sequence([row[kept] for row, kept in zip(values, mask, strict=True)], batch_first=True)
