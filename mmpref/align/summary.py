"""What a training has to say for itself: sizes before it, means and remarks after it, a table in the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mmpref.align.divergence import divergence_remark
from mmpref.errors import ChatTemplateError
from mmpref.log import counted, logger
from mmpref.reasons import listed, log_skips
from mmpref.run.asked import Asked
from mmpref.run.final_over import final_over_text
from mmpref.run.kept_step import none_was_better
from mmpref.run.results_text import rounded
from mmpref.tables.repeated_pairs import repeated_warnings

if TYPE_CHECKING:
    from mmpref.align.preference_data import Pairs
    from mmpref.align.preflight import RowLength
    from mmpref.align.trainer_mixin import ResumableTrainerMixin
    from mmpref.vlm.policy import Policy

_BARELY_KL = 1e-3
"""Nats a token: less is as good as the base."""
_NEGLIGIBLE_RATIO = 1e-2
"""Of an answer's log-ratio, in nats: as good as none."""
_MOVED_RATIO = 0.1
"""Of an answer's log-ratio, in nats: the answer is a tenth likelier, or less likely, than it was."""


_MEANING = {"accuracy": " (chosen reward above the rejected; ties count half)", "margin": " (chosen reward - rejected)"}
"""What stands behind a number in the table of the result."""


def length_facts(lengths: Sequence[RowLength], policy: Policy) -> dict[str, Any]:
    """Image tokens and whole sequences of some rows, in tokens; nothing is cut, so the context must hold them."""
    images, longest = [length.image for length in lengths], max(length.total for length in lengths)
    context = getattr(policy.base_model.config.get_text_config(), "max_position_embeddings", None)
    logger.info(
        "Image tokens a row: %d to %d; longest sequence: %d of %s (by %d rows, the longest among them; no row is cut).",
        *(min(images), max(images), longest, context, len(lengths)),
    )
    if context and longest > context:
        logger.warning("Warning: sequences of %d tokens are longer than the model's context of %d.", longest, context)
    image_tokens = [min(images), max(images)]
    return {"sample": len(lengths), "image_tokens": image_tokens, "sequence_max": longest, "context": context}


def parameter_counts(trainer: ResumableTrainerMixin) -> dict[str, int]:
    """How many parameters are trained by LoRA (of full fine-tuning: in the language model, and in the vision tower
    where it is trained), how many in the projector, and how many there are."""
    from mmpref.align.tuning import parts_of

    parts, named = parts_of(trainer.model, trainer.policy), dict(trainer.model.named_parameters())
    counts = dict.fromkeys(["language_model" if trainer.in_full else "lora", "projector"], 0)
    for name, part in parts.items():
        counts[part] = counts.get(part, 0) + named[name].numel()
    return {**counts, "total": sum(parameter.numel() for parameter in named.values())}


def trained_text(modules: Mapping[str, int], parameters: Mapping[str, int]) -> str:
    """What was trained, in words.

    Args:
        modules: of an adapter, how many by where they are (`mmpref.align.adapter.adapted_modules`); none of full
            fine-tuning.
        parameters: as `parameter_counts` gives them.
    """
    if not modules:
        parts = [f"{name.replace('_', ' ')} ({count:,} parameters)" for name, count in _in_full(parameters).items()]
        return f"in full: {', '.join(parts)}"
    tower = f", {modules['vision_tower']} in the vision tower" if modules.get("vision_tower") else ""
    lora = f"{modules['language_model']} LoRA layers in the language model{tower} ({modules['elsewhere']} elsewhere)"
    return f"{lora} and {modules['projector']} projector in full"


def _in_full(parameters: Mapping[str, int]) -> dict[str, int]:
    """What is trained, of what `parameter_counts` gives."""
    return {name: count for name, count in parameters.items() if count and name != "total"}


def log_pairs(pairs: Pairs) -> None:
    """Log how many pairs there are, and what became of the other rows."""
    first = {reason: (rows[0]["row"], rows[0]["detail"]) for reason, rows in pairs.skips.items()}
    log_skips(len(pairs.dataset), pairs.skipped, first)
    for change, count in pairs.changed.items():
        logger.info("%s: %s.", counted(count, "row"), change.replace("_", " "))
    for warning in repeated_warnings(pairs.repeated, len(pairs.dataset)):
        logger.warning("Warning: %s", warning)


def unmoved_reference(every: int, steps: int) -> str | None:
    """That a reference that moves after so many steps never does so in time for another one; None where it does."""
    if every < steps:
        return None
    return (
        f"The reference never moves: loss.every is {every}, and the training has {counted(steps, 'step')}. This is "
        f"plain DPO{f'; --set loss.every={steps // 2} moves it' if steps > 1 else ''}."
    )


def reference_text(moving: tuple[int, int] | None, began: bool) -> str:
    """What log-ratios at the end of a training are to.

    Args:
        moving: as of `remarks_on`.
        began: training went on from an adapter.
    """
    if moving and not unmoved_reference(*moving):
        return f"the reference, which was the policy of at most {counted(moving[0], 'step')} before"
    return "the policy that training went on from" if began else "the base model"


def remarks_on(
    final: Mapping[str, float],
    kl: float | None = None,
    moving: tuple[int, int] | None = None,
    reference: str = "the base model",
    start: str = "the base",
    product: str = "adapter",
    first_loss: float | None = None,
    only_step: bool = False,
) -> list[str]:
    """What of the end of a training needs to be said in words.

    An adapter or model *barely moved* where its mean KL divergence from where it began is below 0.001 nats a token: by
    Pinsker's inequality no token's probability then differs by more than 2.3 points in such a mean, and greedy answers
    are the same nearly everywhere. It is that of one pair: where log-ratios at the training's end say otherwise of the
    others, it moved.

    Args:
        kl: from ``start``, in nats a token on the first pair's answers (`mmpref.align.adapter.kl_on_answers`); None
            where it is not known.
        moving: of a reference that moves, after how many steps it does so, and how many there were.
        reference: as `reference_text` says it.
        start: what training began with.
        product: what was trained: an ``adapter`` or a ``model``.
        first_loss: `mmpref.align.divergence.first_loss`.
        only_step: there was one; what is logged of a step, and so ``final``, is of before its update.
    """
    told = divergence_remark(first_loss, final.get("loss"))
    remarks = [told] if told else []
    if only_step:
        remarks.append(
            "What training logged is of its only step, before the update: it tells nothing of the "
            f"{product} that came of it. More rows or more --epochs=NUMBER make more steps."
        )
    if moving and (unmoved := unmoved_reference(*moving)):
        remarks.append(unmoved)
    ratios = (final.get(f"{answer}_log_ratio", 0.0) for answer in ("chosen", "rejected"))
    moved = moving is None and any(abs(ratio) > _MOVED_RATIO for ratio in ratios)
    if kl is not None and kl < _BARELY_KL and not moved:
        remarks.append(
            f"The {product} barely moved: its KL divergence from {start} is {kl:.1g} nats a token on the first pair's "
            f"answers, below {_BARELY_KL:g}. A higher --learning-rate=NUMBER or more --epochs=NUMBER move it."
        )
    if (fallen := final.get("chosen_log_ratio", 0.0)) < -_NEGLIGIBLE_RATIO:
        won = "" if told else _won_text(fallen - final["rejected_log_ratio"], final.get("accuracy", 1.0))
        remarks.append(
            f"The chosen answers became less likely than under {reference}{won}. "
            "Read recall and length beside a lower hallucination rate."
        )
    for remark in remarks:
        logger.warning("Note: %s", remark)
    return remarks


def _won_text(margin: float, accuracy: float) -> str:
    """How chosen answers that fell came out beside the rejected ones: by the mean margin, and the share of the pairs
    that have one."""
    if margin <= _NEGLIGIBLE_RATIO:
        return ", and no margin was won"
    if accuracy <= 0.5:
        return ", and on most pairs no margin was won"
    return ": the margin was won by pushing the rejected ones down further"


def _sample_counts(counts: Mapping[str, float]) -> str:
    """What became of the rows that a pair source was given."""
    kinds = ("unfinished", "cut_off", "empty", "same", "tie", "missing", "no_partner", ChatTemplateError.reason)
    rest = ", ".join(f"{counts[kind]:,.0f} {kind.replace('_', ' ')}" for kind in kinds if counts.get(kind))
    return f"{counted(counts.get('used', 0), 'pair')} of {counted(counts.get('rows', 0), 'row')}" + (
        f"; {rest}" if rest else ""
    )


def summary_rows(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The result as lines of a table."""
    counts, final = manifest["counts"], manifest["final"]
    return [
        ("pairs", str(counts["rows"])),
        ("skipped rows", listed(counts["skipped"]) or "none"),
        *_trained_rows(manifest["modules"], manifest.get("parameters") or {}),
        *([_drawn_row(manifest["drawn"])] if "drawn" in manifest else []),
        ("steps", _steps_text(manifest)),
        *([("means over", final_over_text(manifest["final_over"]))] if manifest.get("final_over") else []),
        *([("rewards", logged)] if (logged := manifest.get("logged_reward")) else []),
        *(
            (name, f"{final[name]:.{digits}f}{_MEANING.get(name, '')}")
            for name, digits in (("loss", 4), ("accuracy", 3), ("margin", 4), ("reward", 3), ("kl", 4))
            if name in final
        ),
        *(
            (
                f"accuracy on {name}",
                f"{held['accuracy']:.3f} of {counted(held['rows'], 'pair')}, ties half{_skipped(held)}",
            )
            for name, held in manifest.get("held_out", {}).items()
        ),
        ("seconds", str(manifest["seconds"])),
    ]


def _drawn_row(counts: Mapping[str, float]) -> tuple[str, str]:
    return "partners at every step" if "no_partner" in counts else "drawn at every step", _sample_counts(counts)


def _trained_rows(modules: Mapping[str, int], parameters: Mapping[str, int]) -> list[tuple[str, str]]:
    """What was trained of the model, and what was not."""
    if not modules:
        return [
            (name.replace("_", " "), f"trained in full, {n:,} parameters") for name, n in _in_full(parameters).items()
        ]
    tower = f", {modules['vision_tower']} in the vision tower" if modules.get("vision_tower") else ""
    return [
        ("LoRA layers", f"{modules['language_model']} in the language model{tower}, {modules['elsewhere']} elsewhere"),
        ("projector", "trained in full" if modules["projector"] else "frozen"),
    ]


def _steps_text(manifest: Mapping[str, Any]) -> str:
    """How many steps there were; where one is kept, which, by what, and on which data it was chosen."""
    if not (best := manifest.get("best")):
        return str(manifest["steps"])
    began = "first adapter" if manifest.get("began") else "base"
    value, base = best["value"], best.get("base")
    against = "" if base is None else f", {began} {rounded(base)}"
    watched = (manifest.get("watched") or {}).get(best["metric"].split("/")[0])
    on = f", chosen on {Asked.from_dict(watched).which}" if watched else ""
    kept = f"{manifest['steps']}; kept is step {best['step']} ({best['metric']} {rounded(value)}{against}{on})"
    return f"{kept}; {said}" if (said := none_was_better(manifest)) else kept


def _skipped(held: Mapping[str, Any]) -> str:
    return f" (skipped: {listed(skipped)})" if (skipped := held.get("skipped")) else ""
