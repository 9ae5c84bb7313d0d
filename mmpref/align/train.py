"""Training: preference rows -> an adapter that plain PEFT loads, its log, its plot, its manifest."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmpref import recipe as recipes
from mmpref.align.adapter import LoraSettings
from mmpref.align.method import METHODS, Method, Parts
from mmpref.align.options import PAPER
from mmpref.align.processes import first, part, processes, rank
from mmpref.align.watch_settings import BEST, Evaluator, WatchSettings
from mmpref.errors import UsageError
from mmpref.run import Run, default_path, open_run, write_atomic
from mmpref.tables import Table, open_table
from mmpref.types import ModelRef

if TYPE_CHECKING:
    from mmpref.align.pairs import PairSource
    from mmpref.align.rewards import RewardTrainer
    from mmpref.align.rows import Pairs
    from mmpref.align.trainer import PreferenceTrainer
    from mmpref.align.watching import Watching
    from mmpref.vlm.policy import Policy
    from mmpref.vlm.shared import SharedForward

talk = logging.getLogger("mmpref")
WriteCard = Callable[[Path, dict[str, Any]], None]
OnProgress = Callable[[int, int], None]

BEGAN = "began.json"
"""State: the commits of data and model that a restart must go on with."""

_SAMPLE = 32
"""Rows whose image tokens are counted before training."""


@dataclass(frozen=True)
class TrainRecipe:
    """Everything that decides an adapter.

    Args:
        model: Hub id, folder, or ``pkg:<package>/<path>``.
        dataset: preference data: Hub ids, files, folders or table names; several are concatenated.
        method: name of a training method.
        revision: of the model.
        split: of every data set.
        limit: take only the first rows.
        seed: of the adapter's initial weights and of the order of rows.
        dtype: of the base model; ``auto`` is fp32 on a CPU and bf16 on an accelerator that has it.
        trust_remote_code: run code that comes with the model.
        annotator: who ranks answers, for methods that ask.
        lora: rank, alpha and dropout.
        train_projector: train the vision-language projector too, in full.
        projector_learning_rate: the projector's own.
        share_prompt: run image and prompt once for both answers of a pair, where the architecture allows it;
            otherwise TRL's own forward.
        watch: benchmarks while training: how often, which is best, when to stop.
        loss: settings of the method.
        trainer: options of TRL's `DPOConfig`, handed on as they are; the paper's where none are given.
    """

    model: str
    dataset: tuple[str, ...] = ()
    method: str = "dpo"
    revision: str | None = None
    split: str = "train"
    limit: int | None = None
    seed: int = 0
    dtype: recipes.Dtype = "auto"
    trust_remote_code: bool = False
    annotator: str | None = None
    lora: LoraSettings = field(default_factory=LoraSettings)
    train_projector: bool = True
    projector_learning_rate: float = 2e-6
    share_prompt: bool = True
    watch: WatchSettings = field(default_factory=WatchSettings)
    loss: dict[str, Any] = field(default_factory=dict)
    trainer: dict[str, Any] = field(default_factory=lambda: dict(PAPER))


def train(
    recipe: TrainRecipe,
    output: Path | None = None,
    *,
    evaluate: Evaluator | None = None,
    write_card: WriteCard | None = None,
    on_progress: OnProgress | None = None,
) -> dict[str, Any]:
    """Train the adapter of a recipe in a run directory, or finish what an earlier run left.

    Args:
        output: run directory; by default under ``runs/``.
        evaluate: scores the policy on the benchmarks that the recipe wants to have watched.
        write_card: writes ``README.md`` from the directory and the manifest's facts.
        on_progress: told how many steps are done, of how many.

    Returns:
        The manifest (``run.json``); nothing in a process of several that is not the first.

    Raises:
        UsageError: unknown method or setting, or settings that contradict each other.
        InputError: preference data that cannot be read or has no usable row.
        ModelError: a model that cannot be loaded or trained.
        RunError: a directory that belongs to another recipe, data that changed under the run, no room on the disk, a
            loss that is not finite, or a saved adapter that fails the probe.
    """
    from mmpref.align import options

    method = METHODS.get(recipe.method)
    _check(recipe, method, evaluate)
    settings = recipes.build(method.settings, recipe.loss, "loss")
    options.check(recipe.trainer, method.trainer(settings), method.config())
    recipe = dataclasses.replace(recipe, loss=recipes.as_plain(settings))
    with first():
        run = open_run(output or default_path("train", recipe.method, recipe), "train", recipe)
        finished = run.finished
    if rank():
        talk.setLevel(logging.ERROR)
        if not finished:
            with _quietly():
                _fit(run, recipe, _Way(method, settings, evaluate), None)
        return {}
    with run.lock(), run.forgotten_if_it_fails(lambda: _has_checkpoint(run), scraps=("log.jsonl", "evaluations.jsonl")):
        if finished:
            talk.info("%s is complete already.", run.path)
        else:
            with _quietly():
                _work(run, recipe, _Way(method, settings, evaluate), write_card, on_progress)
        _drop_restart_state(run)
        return run.manifest()


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Deprecations between TRL, PEFT and transformers are theirs to settle, not the user's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield


@dataclass(frozen=True)
class _Way:
    """A method with its settings, and who evaluates while it trains."""

    method: Method
    settings: Any
    evaluate: Evaluator | None = None

    @property
    def options(self) -> dict[str, Any]:
        return self.method.trainer(self.settings)

    @property
    def weights(self) -> tuple[float, ...]:
        return self.method.weights(self.settings)


def _check(recipe: TrainRecipe, method: Method, evaluate: Evaluator | None) -> None:
    if recipe.annotator and not method.needs_annotator:
        raise UsageError(f"The method {recipe.method!r} asks no annotator.", "Leave --annotator out.")
    if method.needs_annotator and not recipe.annotator:
        raise UsageError(f"The method {recipe.method!r} needs an annotator.", "Name a model with --annotator.")
    if not recipe.dataset:
        raise UsageError("Training needs preference data.", "Name a data set with --dataset; it can be repeated.")
    if recipe.watch.benchmarks and evaluate is None:
        raise UsageError("Nobody was given who evaluates the benchmarks that are to be watched.")
    if recipe.limit is not None and recipe.limit < 1:
        raise UsageError(f"--limit is {recipe.limit}; it must be at least 1.")


def _work(
    run: Run,
    recipe: TrainRecipe,
    way: _Way,
    write_card: WriteCard | None,
    on_progress: OnProgress | None,
) -> None:
    from mmpref.align.callbacks import read_rows
    from mmpref.align.plot import plot
    from mmpref.vlm.origin import licence_of

    fitted = _fit(run, recipe, way, on_progress)
    assert fitted is not None
    # The trained policy is out of memory by now: the probe loads the model a second time.
    proof = fitted.prove()
    rows = read_rows(run.path / "log.jsonl")
    plot(rows, run.path / "training.png")
    facts = {
        "model": {
            "id": recipe.model,
            "revision": fitted.ref.revision,
            "licence": licence_of(recipe.model, fitted.ref.revision),
        },
        "method": recipe.method,
        "datasets": fitted.pairs.sources,
        "counts": {"rows": len(fitted.pairs.dataset), "skipped": fitted.pairs.skipped},
        "seeds": {"run": recipe.seed},
        **fitted.facts,
        "final": (final := _final(rows)),
        "remarks": _remarks(final),
        "probe": proof,
    }
    if write_card:
        write_card(
            run.path, {"command": run.command, "recipe": dict(run.recipe), "recipe_hash": run.recipe_hash, **facts}
        )
    run.finish(facts)


@dataclass(frozen=True)
class _Fitted:
    """What is left of a training: its facts, and a proof that what was saved is what was trained."""

    ref: ModelRef
    pairs: Pairs
    facts: dict[str, Any]
    prove: Callable[[], dict[str, Any]]


def _fit(run: Run, recipe: TrainRecipe, way: _Way, on_progress: OnProgress | None) -> _Fitted | None:
    """Train to the end from the last whole checkpoint, and save the adapter; None in a process that does not write."""
    import torch

    from mmpref.align import adapter, options
    from mmpref.align.checkpoints import writing
    from mmpref.align.collator import BESIDE
    from mmpref.align.rewards import RewardTrainer
    from mmpref.align.rows import collect
    from mmpref.vlm.policy import Policy
    from mmpref.vlm.value import attach

    tables, revision = _as_it_began(run, recipe)
    ref = ModelRef(recipe.model, revision)
    policy = Policy.load(ref, dtype=_dtype(recipe.dtype), trust_remote_code=recipe.trust_remote_code)
    if way.method.rewards:
        attach(policy.model)
        for spec in way.settings.held_out:
            _table(spec)  # what is missing is told before the work, not after it
    image_token = policy.tokenizer.convert_ids_to_tokens(policy.image_token_id)
    with first():
        if not (run.state / BEGAN).is_file():
            began = {"datasets": [table.revision for table in tables], "model": policy.ref.revision}
            write_atomic(run.state / BEGAN, json.dumps(began) + "\n")
        pairs = collect(tables, run.state, image_token=image_token, limit=recipe.limit,
                        second=way.method.needs_second, needs=way.method.needs(way.settings))  # fmt: skip
    _tell(pairs)
    dtype = str(policy.dtype).removeprefix("torch.")
    used = options.resolve(recipe.trainer, way.options, seed=recipe.seed, dtype=dtype, dropout=recipe.lora.dropout > 0)
    trainer = _trainer(run, recipe, way, used, policy, pairs)
    modules = adapter.adapted_modules(trainer.model, policy)
    talk.info("Training %d LoRA layers in the language model (%d elsewhere) and %d projector in full.",
              modules["language_model"], modules["elsewhere"], modules["projector"])  # fmt: skip
    lengths = _lengths(trainer, policy, pairs)
    watching = _run_training(run, recipe, trainer, way, on_progress)
    part()
    if rank():
        return None
    if watching and (best := watching.best()):
        trainer.take(run.state / BEST)
        talk.info("Keeping the adapter of step %d, where %s was best.", best["step"], best["metric"])
    model = trainer.policy()
    with writing(f"the adapter in {run.path}"):
        adapter.save(model, policy.processor, policy.ref, run.path)
    facts = {
        "modules": modules,
        "parameters": _parameters(trainer),
        "lengths": lengths,
        "steps": trainer.state.global_step,
        **({"evaluations": watching.rows, "best": watching.best()} if watching else {}),
        "threads": torch.get_num_threads(),
        "processes": processes(),
        "prompt_shared": trainer.shared is not None,
        **({"annotator": {"name": recipe.annotator}} if recipe.annotator else {}),
        **trainer.facts(),
        "trainer": used,
    }
    if isinstance(trainer, RewardTrainer):
        facts |= {"held_out": _held_out(run, trainer, way.settings.held_out, image_token)}
        return _Fitted(policy.ref, pairs, facts, trainer.proof(run.path, policy, pairs.dataset[0]))
    batch = {name: value for name, value in trainer.collate([pairs.dataset[0]]).items() if name != BESIDE}
    trained = adapter.logits(model, batch)
    prove = partial(adapter.probe, run.path, policy.ref, batch, trained, dtype, str(policy.device),
                    recipe.trust_remote_code)  # fmt: skip
    return _Fitted(policy.ref, pairs, facts, prove)


def _held_out(run: Run, trainer: RewardTrainer, specs: Sequence[str], image_token: str) -> dict[str, dict[str, float]]:
    """The reward model's accuracy on preference sets: rows, and the share of them that it ranks as they are."""
    from mmpref.align.rows import collect

    found = {}
    for spec in specs:
        folder = run.state / "held-out"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        pairs = collect([_table(spec)], folder, image_token=image_token)
        found[spec] = {"rows": len(pairs.dataset), "accuracy": trainer.accuracy(pairs)}
        shutil.rmtree(folder)
    return found


def _table(spec: str) -> Table:
    """The preference set ``NAME`` or ``NAME:SPLIT``."""
    name, colon, split = spec.rpartition(":")
    return open_table(name, split) if colon and not Path(spec).exists() else open_table(spec, "train")


def _as_it_began(run: Run, recipe: TrainRecipe) -> tuple[list[Table], str | None]:
    """The preference data, and the revision of the model, at the commits that the run began with."""
    path = run.state / BEGAN
    began = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    revisions = began.get("datasets") or [None] * len(recipe.dataset)
    tables = [
        open_table(spec, recipe.split, revision=revision)
        for spec, revision in zip(recipe.dataset, revisions, strict=True)
    ]
    return tables, began.get("model") or recipe.revision


def _dtype(asked: str) -> str:
    import torch

    has_bf16 = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    return "bfloat16" if asked == "auto" and has_bf16 else asked


def _tell(pairs: Pairs) -> None:
    skipped = ", ".join(f"{count} {reason}" for reason, count in pairs.skipped.items())
    talk.info("%d pairs%s.", len(pairs.dataset), f"; skipped rows: {skipped}" if skipped else "")


def _trainer(
    run: Run, recipe: TrainRecipe, way: _Way, used: Mapping[str, Any], policy: Policy, pairs: Pairs
) -> PreferenceTrainer:
    from mmpref.align import options
    from mmpref.align.adapter import HEAD, lora_config
    from mmpref.align.collator import PreferenceCollator
    from mmpref.align.reference import ReferenceLogProbs
    from mmpref.align.rewards import RewardTrainer
    from mmpref.align.rows import numbered
    from mmpref.align.trainer import PreferenceTrainer

    sharded = os.environ.get("ACCELERATE_USE_FSDP") == "true" or os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true"
    if sharded and way.method.source and not way.method.keeps_answers:
        raise UsageError(f"The method {recipe.method} writes answers with the whole model, which is sharded here.",
                         "Launch it with the configuration ddp.")  # fmt: skip
    config = options.config(used, _checkpoints(run), way.method.config())
    lora = lora_config(policy, recipe.lora, recipe.train_projector, [HEAD] * way.method.rewards)
    try:
        if way.method.build:
            return way.method.build(
                Parts(way.settings, config, policy, pairs, lora, recipe.projector_learning_rate, run.state)
            )
        return (RewardTrainer if way.method.rewards else PreferenceTrainer)(
            model=policy.model,
            args=config,
            train_dataset=numbered(pairs.dataset),
            data_collator=PreferenceCollator(policy.processor),
            processing_class=policy.processor,
            writer=policy,
            peft_config=lora,
            projector_learning_rate=recipe.projector_learning_rate,
            shared=_shared(recipe, policy, pairs),
            # What a source draws is new at every step, and so is what the reference says of it.
            reference=None
            if way.method.rewards or (way.method.source and not way.method.keeps_answers)
            else ReferenceLogProbs(_reference(run), len(pairs.dataset), len(way.weights)),
            weights=way.weights,
            terms=way.method.terms(way.settings) if way.method.terms else None,
            source=_source(recipe, way, policy, pairs),
        )
    except (ValueError, NotImplementedError) as error:
        raise UsageError(f"TRL refuses these settings: {' '.join(str(error).split())}") from error


def _source(recipe: TrainRecipe, way: _Way, policy: Policy, pairs: Pairs) -> PairSource | None:
    """Where the method's pairs come from, if not from the data."""
    from mmpref.align.pairs import SourceContext
    from mmpref.judges.opened import open_annotator
    from mmpref.types import ImageData

    if way.method.source is None:
        return None
    encoded = pairs.dataset.with_format(None)

    def images(row: int) -> tuple[ImageData, ...]:
        return tuple(ImageData(content, f"image of row {row}") for content in encoded[row]["images"])

    annotator = None
    if recipe.annotator:
        instruction = getattr(way.settings, "instruction", None)
        annotator = open_annotator(recipe.annotator, instruction=instruction, policy=lambda: policy)
    return way.method.source(SourceContext(policy, recipe.seed, images, annotator), way.settings)


def _shared(recipe: TrainRecipe, policy: Policy, pairs: Pairs) -> SharedForward | None:
    """The forward that runs image and prompt once for both answers, if this model allows it."""
    from mmpref.align.collator import PreferenceCollator
    from mmpref.align.rows import SECOND
    from mmpref.vlm.shared import SharedForward

    if not recipe.share_prompt:
        return None
    shared = SharedForward(policy)
    first = {name: value for name, value in pairs.dataset[0].items() if name != SECOND}
    if reason := shared.refusal(PreferenceCollator(policy.processor)([first])):
        talk.warning("Image and prompt go through the model once for each answer, at some twice the cost: %s.", reason)
        return None
    return shared


def _reference(run: Run) -> Path:
    """The reference's log-probabilities; each process of a distributed training keeps those of its own rows."""
    return run.state / f"reference-{rank()}.f32"


def _run_training(
    run: Run, recipe: TrainRecipe, trainer: PreferenceTrainer, way: _Way, on_progress: OnProgress | None
) -> Watching | None:
    from mmpref.align.callbacks import LogRows, Progress, Restore, Stop
    from mmpref.align.checkpoints import latest, step_of
    from mmpref.align.watching import Watching

    with first():
        checkpoint = latest(_checkpoints(run))
    resumed = step_of(checkpoint) if checkpoint else 0
    if not rank():
        trainer.add_callback(LogRows(run.path / "log.jsonl", resumed))
    watching = None
    if way.evaluate and recipe.watch.benchmarks:
        watching = Watching(trainer, way.evaluate, recipe.watch, run.path, run.state, resumed)
        trainer.add_callback(watching)
    if on_progress:
        trainer.add_callback(Progress(on_progress))
    if checkpoint:
        talk.info("Resuming from step %d.", step_of(checkpoint))
        if trainer.restore_finished(checkpoint, stopped=watching is not None and watching.exhausted):
            return watching
        trainer.add_callback(Restore(lambda: trainer.restore_pending(checkpoint)))
    stop = Stop()
    trainer.add_callback(stop)
    with stop.listening():
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    return watching


def _checkpoints(run: Run) -> Path:
    return run.state / "checkpoints"


def _has_checkpoint(run: Run) -> bool:
    from mmpref.align.checkpoints import is_whole

    return any(is_whole(checkpoint) for checkpoint in _checkpoints(run).glob("checkpoint-*"))


def _drop_restart_state(run: Run) -> None:
    """A finished run needs neither its checkpoints nor its copy of the pairs."""
    from mmpref.align.rows import DATA, FACTS

    shutil.rmtree(_checkpoints(run), ignore_errors=True)
    for path in (
        *(run.state / name for name in (DATA, FACTS, BEGAN, BEST, "reward.json")),
        *run.state.glob("reference-*.f32"),
    ):
        path.unlink(missing_ok=True)


def _lengths(trainer: PreferenceTrainer, policy: Policy, pairs: Pairs) -> dict[str, Any]:
    """Image tokens and whole sequences of a sample, in tokens; nothing is cut, so the context must hold them."""
    rows = len(pairs.dataset)
    sample = sorted({index * rows // min(rows, _SAMPLE) for index in range(min(rows, _SAMPLE))})
    images, whole = [], []
    for index in sample:
        batch = trainer.collate([pairs.dataset[index]])
        images.append(int((batch["input_ids"][0] == policy.image_token_id).sum()))
        whole.append(int(batch["attention_mask"].sum(dim=1).max()))
    context = getattr(policy.base_model.config.get_text_config(), "max_position_embeddings", None)
    talk.info("Image tokens a row: %d to %d; longest sequence: %d of %s (sample of %d rows; nothing is cut).",
              min(images), max(images), max(whole), context, len(sample))  # fmt: skip
    if context and max(whole) > context:
        talk.warning("Warning: sequences of %d tokens are longer than the model's context of %d.", max(whole), context)
    return {"sample": len(sample), "image_tokens": [min(images), max(images)], "sequence_max": max(whole),
            "context": context}  # fmt: skip


def _parameters(trainer: PreferenceTrainer) -> dict[str, int]:
    from mmpref.align.adapter import is_projector

    counts = {"lora": 0, "projector": 0, "total": 0}
    for name, parameter in trainer.model.named_parameters():
        counts["total"] += parameter.numel()
        if parameter.requires_grad:
            counts["projector" if is_projector(name) else "lora"] += parameter.numel()
    return counts


def _final(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Means over the last tenth of the log rows."""
    last = rows[-max(1, len(rows) // 10) :]
    names = {"loss": "loss", "accuracy": "rewards/accuracies", "margin": "rewards/margins",
             "chosen_reward": "rewards/chosen", "rejected_reward": "rewards/rejected",
             "chosen_logp": "logps/chosen", "rejected_logp": "logps/rejected",
             "reward": "reward", "kl": "kl"}  # fmt: skip
    known = {name: [row[key] for row in last if key in row] for name, key in names.items()}
    return {name: sum(values) / len(values) for name, values in known.items() if values}


def _remarks(final: Mapping[str, float]) -> list[str]:
    """What of the end of a training needs to be said in words."""
    remarks = []
    if "chosen_logp" in final and final["chosen_reward"] < 0:
        remarks.append(
            "The chosen answers became less likely than under the base model: the margin was won by pushing the "
            "rejected ones down further. Read recall and length beside a lower hallucination rate."
        )
    for remark in remarks:
        talk.warning("Note: %s", remark)
    return remarks


def _drawn(counts: Mapping[str, float]) -> str:
    """What became of the rows that a pair source was given."""
    kinds = ("unfinished", "empty", "same", "tie", "missing")
    rest = ", ".join(f"{counts[kind]:,.0f} {kind}" for kind in kinds if counts.get(kind))
    return f"{counts.get('used', 0):,.0f} pairs of {counts.get('rows', 0):,.0f} rows" + (f"; {rest}" if rest else "")


def summary(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The result as lines of a table."""
    counts, final, modules = manifest["counts"], manifest["final"], manifest["modules"]
    skipped = ", ".join(f"{count} {reason}" for reason, count in counts["skipped"].items()) or "none"
    return [
        ("pairs", str(counts["rows"])),
        ("skipped rows", skipped),
        ("LoRA layers", f"{modules['language_model']} in the language model, {modules['elsewhere']} elsewhere"),
        ("projector", "trained in full" if modules["projector"] else "frozen"),
        *([("drawn at every step", _drawn(manifest["drawn"]))] if "drawn" in manifest else []),
        ("steps", str(manifest["steps"])),
        *(
            (name, f"{final[name]:.{digits}f}")
            for name, digits in (("loss", 4), ("accuracy", 3), ("margin", 4), ("reward", 3), ("kl", 4))
            if name in final
        ),
        *(
            (f"accuracy on {name}", f"{held['accuracy']:.3f} of {held['rows']} pairs")
            for name, held in manifest.get("held_out", {}).items()
        ),
        ("seconds", str(manifest["seconds"])),
    ]
