"""A recipe's ``trainer:`` block -> TRL's `DPOConfig`. What mmpref itself decides is refused there, and said."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmpref.align.report_to import names_of
from mmpref.distributed import has_accelerator, num_processes
from mmpref.errors import UsageError
from mmpref.recipes.in_words import as_written
from mmpref.recipes.schema import UnknownSettingError, type_hints
from mmpref.workers import default_workers

PAPER: dict[str, Any] = {
    "num_train_epochs": 3,
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 8,
}
"""Our pick within the paper's search ranges (appendix A): 3 epochs, batches of 32. Learning rates are the methods'."""

BATCH = {"per_device_train_batch_size", "gradient_accumulation_steps"}
"""Options that make the batch of a step: who says one of them has TRL's default of the other."""

# Trainer would replace a loss that is not finite by earlier ones in the log; ours stops there.
_DEFAULTS = {
    "logging_nan_inf_filter": False,
    "logging_steps": 1,
    "save_strategy": "steps",
    "save_steps": 0.1,
    "save_total_limit": 2,
    "dataloader_pin_memory": False,
}

OWN_DEFAULTS: dict[str, Any] = {**_DEFAULTS, **PAPER}
"""What is not TRL's own default, whatever the device; `resolve` has what goes by that."""

_FIXED = {
    "output_dir": "it is inside the run directory: use --output",
    "seed": "it is the recipe's: use --seed",
    "max_length": "nothing is cut, since a cut could fall inside the image",
    "max_prompt_length": "nothing is cut, since a cut could fall inside the image",
    "model_init_kwargs": "the model is loaded by mmpref: use model, revision and dtype",
    "push_to_hub": "a finished run is published at once: use --push",
    "hub_model_id": "a finished run is published at once: use --hub-model-id",
    "resume_from_checkpoint": "a run resumes by itself",
    "remove_unused_columns": "the columns are those that the trainer reads",
    "disable_tqdm": "progress is mmpref's own",
}


class _Refused(typing.NamedTuple):
    reason: str
    hint: str = "Leave it out."


_NOTHING_HELD_OUT = _Refused(
    "a training holds out no pairs to compute a loss on",
    "Watch a benchmark: --eval-benchmark=NAME, with --eval-every, and --best to keep the best step.",
)
_OTHER_THAN_DEFAULT: dict[str, _Refused] = {
    **dict.fromkeys(("eval_strategy", "do_eval", "eval_on_start", "load_best_model_at_end"), _NOTHING_HELD_OUT),
    "sync_ref_model": _Refused(
        "the reference has no weights of its own that could follow the model's",
        "Use --method=tr-dpo, whose reference moves (--set loss.every=STEPS).",
    ),
    "save_only_model": _Refused(
        "a run that resumes would begin its optimizer and its schedule anew",
        "Leave it out; what stays of a finished run is the adapter alone anyway.",
    ),
    "ignore_data_skip": _Refused("a run that resumes would train on its first rows again"),
    "auto_find_batch_size": _Refused(
        "with a smaller batch the log, the schedule and the rows of the steps would be those of two trainings",
        "Set --batch-size=NUMBER; what one step needs is tried before the first (preflight).",
    ),
    "neftune_noise_alpha": _Refused(
        "its noise goes to whatever the model embeds while it trains, the reference's answers among it"
    ),
}
"""Options that have no place here unless they say what TRL does anyway."""


class _Kind(typing.NamedTuple):
    types: tuple[type, ...]
    text: str


_KINDS: dict[Any, _Kind] = {
    int: _Kind((int,), "a whole number"),
    int | None: _Kind((int, type(None)), "a whole number"),
    float: _Kind((int, float), "a number"),
    float | None: _Kind((int, float, type(None)), "a number"),
    bool: _Kind((bool,), "true or false"),
}
"""What a value must be where TRL names one simple type. TRL itself looks at few, and trips over the rest later."""

_MOST_WORKERS = 4
"""Processes that make batches, unless told otherwise: a step takes far longer than its images."""
_NOT_NEGATIVE = ("learning_rate", "num_train_epochs", "max_grad_norm", "weight_decay")
_AT_LEAST_1 = ("per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps")


def names(kind: type[Any]) -> list[str]:
    """The options of a class of configuration."""
    return [field.name for field in dataclasses.fields(kind) if field.init]


def free(known: Iterable[str], method: Collection[str]) -> list[str]:
    """The options that a recipe can set, of those that there are.

    Args:
        method: those that the method decides.
    """
    return [name for name in known if name not in _FIXED and name not in method]


def refuse_names(trainer: Iterable[str], known: Sequence[str], method: Collection[str]) -> None:
    """Refuse options by their names alone.

    Args:
        trainer: those of the recipe's block.
        known: those that there are.
        method: those that the method decides.

    Raises:
        UnknownSettingError: an option that TRL does not have.
        UsageError: one that is decided elsewhere.
    """
    for name in trainer:
        if name in _FIXED:
            raise UsageError(f"trainer.{name} cannot be set: {_FIXED[name]}.")
        if name in method:
            raise UsageError(
                f"trainer.{name} belongs to the method.", "Use the recipe's loss block: --set loss.KEY=VALUE."
            )
        if name not in known:
            raise UnknownSettingError("trainer", name, [one for one in known if one not in _FIXED])


def check(trainer: Mapping[str, Any], method: Mapping[str, Any], kind: type[Any] | None = None) -> None:
    """Refuse what cannot be set, before any work.

    Args:
        trainer: the recipe's block.
        method: the options that the method's settings made.
        kind: TRL's class of configuration; by default `DPOConfig`.

    Raises:
        UnknownSettingError: an option that TRL does not have.
        UsageError: one that is decided elsewhere, or of another type.
    """
    from trl import DPOConfig

    kind = kind or DPOConfig
    refuse_names(trainer, names(kind), method)
    types = type_hints(kind)
    for name, value in trainer.items():
        form = _KINDS.get(types[name])
        if form and not (isinstance(value, form.types) and isinstance(value, bool) == (bool in form.types)):
            raise UsageError(f"trainer.{name} is {as_written(value)}; it must be {form.text}.")
        if name in _AT_LEAST_1 and isinstance(value, int) and value < 1:
            raise UsageError(f"trainer.{name} is {value}; it must be at least 1.")
        if name in _NOT_NEGATIVE and value < 0:
            raise UsageError(f"trainer.{name} is {value}; it must not be below 0.")
        _refuse_other_than_default(name, getattr(value, "value", value), kind)
    limit = trainer.get("save_total_limit", 2)
    if limit is not None and limit < 2:
        raise UsageError(
            f"trainer.save_total_limit is {limit}; it must be at least 2.",
            "While a checkpoint is written the one before it must stay.",
        )


def _refuse_other_than_default(name: str, value: Any, kind: type[Any]) -> None:
    """Refuse an option of `_OTHER_THAN_DEFAULT` that is another than TRL's default."""
    refused = _OTHER_THAN_DEFAULT.get(name)
    if not refused or value is None or value is False:
        return
    default = next(field.default for field in dataclasses.fields(kind) if field.name == name)
    if value != getattr(default, "value", default):
        raise UsageError(f"trainer.{name} cannot be {as_written(value)}: {refused.reason}.", refused.hint)


def resolve(
    trainer: Mapping[str, Any], method: Mapping[str, Any], *, seed: int, dtype: str, dropout: bool, unused: bool = False
) -> dict[str, Any]:
    """The options of a run: our defaults, the recipe's block over them, the method's options and ours on top.

    Args:
        dtype: of the loaded model; half precision on an accelerator brings mixed precision of the same kind.
        dropout: the adapter uses dropout, so TRL must not switch it off.
        unused: a step may give some of what is trained no gradient.

    Raises:
        UsageError: the recipe asks for dropout and for none, or for mixed precision of another kind than the model's.
    """
    import torch

    if dropout and trainer.get("disable_dropout"):
        raise UsageError("trainer.disable_dropout and lora.dropout contradict each other.", "Set only one of them.")
    for name, other in (("bf16", "float16"), ("fp16", "bfloat16")):
        if trainer.get(name) and dtype == other:
            raise UsageError(
                f"trainer.{name} and the model's {other} contradict each other.",
                "Set dtype for both: mixed precision follows it on an accelerator.",
            )
    gpu = torch.cuda.is_available()
    defaults = {
        **_DEFAULTS,
        "use_cpu": not gpu,
        "dataloader_num_workers": data_workers(trainer),
        "dataloader_pin_memory": gpu,
        **({"accelerator_config": {"non_blocking": True}} if gpu else {}),
        "bf16": gpu and dtype == "bfloat16",
        "fp16": gpu and dtype == "float16",
        "gradient_checkpointing": gpu,
        "disable_dropout": not dropout,
        "ddp_find_unused_parameters": unused,
    }
    ours = {
        "seed": seed,
        "max_length": None,
        "remove_unused_columns": False,
        "report_to": names_of(trainer.get("report_to")) or "none",
    }
    return {**defaults, **trainer, **method, **ours}


def data_workers(trainer: Mapping[str, Any]) -> int:
    """How many processes make batches beside the training thread: as the block says, else what a step asks for."""
    return int(trainer.get("dataloader_num_workers", min(_MOST_WORKERS, default_workers(has_accelerator()))))


def refuse(
    trainer: Mapping[str, Any], method: Mapping[str, Any], kind: type[Any], *, dtype: str, dropout: bool
) -> None:
    """Refuse what TRL will refuse, or what contradicts the rest of the recipe, before there is a model.

    Args:
        dtype: as the recipe has it. What a launcher decides for several processes is left to them.

    Raises:
        UsageError: as `resolve` and `config`.
    """
    if num_processes() > 1:
        return
    guessed = "float32" if dtype == "auto" else dtype
    config(resolve(trainer, method, seed=0, dtype=guessed, dropout=dropout), Path("checkpoints"), kind)


def config(options: Mapping[str, Any], output_dir: Path, kind: type[Any] | None = None) -> Any:
    """TRL's configuration.

    Args:
        kind: its class; by default `DPOConfig`. What it does not know of our own settings is left out.

    Raises:
        UsageError: TRL refuses a value or a combination, or answers would be used in more than one step.
    """
    from trl import DPOConfig

    kind = kind or DPOConfig
    known = {field.name for field in dataclasses.fields(kind)}
    options = {name: value for name, value in options.items() if name != "max_length" or name in known}
    try:
        made = kind(output_dir=str(output_dir), disable_tqdm=True, **options)
    except (TypeError, ValueError) as error:
        raise UsageError(f"TRL refuses these trainer settings: {' '.join(str(error).split())}") from error
    _refuse_kept_answers(made)
    return made


def _refuse_kept_answers(made: Any) -> None:
    """Refuse answers that are used in more than one step: no checkpoint holds them, and a run that resumes between the
    steps would sample others, of a later policy.

    Args:
        made: TRL's configuration; the batches of one lot of answers are ``steps_per_generation``, each of which is used
            ``num_iterations`` times.

    Raises:
        UsageError: there are such answers.
    """
    if not hasattr(made, "num_iterations"):
        return
    batches = made.steps_per_generation * made.num_iterations
    if made.gradient_accumulation_steps % batches:
        raise UsageError(
            f"Answers would be sampled for {batches} batches, and a step has {made.gradient_accumulation_steps}: no "
            "checkpoint holds answers, and a run that resumes between two steps that share some would sample others.",
            "Leave out what of the trainer says so: num_iterations, steps_per_generation, generation_batch_size.",
        )
