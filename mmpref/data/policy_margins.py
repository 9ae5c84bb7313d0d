"""What a model makes of a preference dataset: which answers it prefers before any training, and how long rows are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from mmpref.data.sources import Source
from mmpref.data.stats import spread
from mmpref.sampling.logprobs import answer_tokens, log_probs
from mmpref.tables.rows import same_answer
from mmpref.tables.table import Table
from mmpref.types import Example
from mmpref.vlm.encode import encode
from mmpref.vlm.same_tokens import alike_to
from mmpref.vlm.special_tokens import special_token_in

if TYPE_CHECKING:
    from mmpref.vlm.policy import Policy

_BLOCK = 16


def score_pairs(
    policy: Policy, table: Table, image_root: Sequence[str] = (), on_progress: Callable[[int, int], None] | None = None
) -> dict[str, Any]:
    """Score every pair that training uses, by the tokens that it counts: each answer's end (EOS) is one of them. Pairs
    with a special token of the model in their texts, with turns that its chat template refuses, or of answers that are
    the same, to the model too, are none.

    Args:
        on_progress: told how many rows are done, of how many.

    Returns:
        ``rows`` that were scored; ``margin`` (log-probability of chosen minus that of rejected, in nats) and
        ``margin_per_token``, of their means over tokens; ``prefers_chosen`` and ``prefers_chosen_per_token``, the
        shares of rows where they are above 0, as the model thinks the chosen answer likelier, ties counting half (the
        margins that DPO logs are of log-ratios to it, and begin at 0); ``image_tokens`` and ``tokens`` (prompt and
        longer answer) of a row;
        ``context`` (how many tokens the model takes, or None).

    Raises:
        InputError: rows of no known shape.
    """
    source = Source([table], image_root)
    special_token, alike = special_token_in(policy.markup_tokens), alike_to(policy.tokenizer)
    margins, means, images, lengths, done = [], [], [], [], 0
    for _, block in source.blocks(_BLOCK, lambda _: True):
        pairs = [row for row in block if isinstance(row, Example) and row.rejected]
        told_apart = [pair for pair in pairs if not same_answer(pair.answer, pair.rejected or "")]
        examples = [
            pair
            for pair in told_apart
            if not any(map(special_token, _texts(pair))) and not alike(pair.answer, pair.rejected or "")
            if not policy.prompter.refused(pair.prompt, len(pair.images), _answers(pair))
        ]
        contexts = encode(policy, [policy.prompter(example) for example in examples]) if examples else []
        chosen, rejected = (
            log_probs(
                policy,
                contexts,
                [
                    answer_tokens(policy, example.prompt, len(example.images), answer)
                    for example, answer in zip(examples, answers, strict=True)
                ],
            )
            for answers in ([pair.answer for pair in examples], [pair.rejected or "" for pair in examples])
        )
        for context, chosen_log_prob, rejected_log_prob in zip(contexts, chosen, rejected, strict=True):
            margins.append(chosen_log_prob.total - rejected_log_prob.total)
            means.append(chosen_log_prob.mean - rejected_log_prob.mean)
            images.append(context.image_tokens)
            lengths.append(len(context.embeds) + max(chosen_log_prob.tokens, rejected_log_prob.tokens))
        done += len(block)
        if on_progress:
            on_progress(done, len(source))
    return {
        "model": str(policy.ref),
        "rows": len(margins),
        "margin": spread(margins),
        "margin_per_token": spread(means),
        "prefers_chosen": _share(margins),
        "prefers_chosen_per_token": _share(means),
        "image_tokens": spread(images),
        "tokens": spread(lengths),
        "context": getattr(policy.base_model.config.get_text_config(), "max_position_embeddings", None),
    }


def _texts(example: Example) -> list[str]:
    return [*(turn.content for turn in example.prompt), *_answers(example).values()]


def _answers(example: Example) -> dict[str, str]:
    return {"chosen": example.answer, "rejected": example.rejected or ""}


def _share(margins: Sequence[float]) -> float | None:
    right = sum((margin > 0) + 0.5 * (margin == 0) for margin in margins)
    return round(right / len(margins), 4) if margins else None
