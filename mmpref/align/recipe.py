"""What decides an adapter: the recipe of ``train``. Reading and checking it loads no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from mmpref.align.method import METHODS, Method
from mmpref.align.served_policy import refuse_server
from mmpref.align.trl_options import BATCH, PAPER
from mmpref.errors import UsageError
from mmpref.hub_ids import refuse_revision_alone
from mmpref.judges.resolve import endpoint_of
from mmpref.recipes import schema as recipes
from mmpref.recipes.in_words import example
from mmpref.recipes.names import names
from mmpref.registry import Registry, suggest
from mmpref.run.asked import Asked

if TYPE_CHECKING:
    from mmpref.vlm.policy import Policy


Evaluator = Callable[["Policy"], Mapping[str, tuple[float, bool | None]]]
"""Scores a policy as it is: a value by name, and whether more of it is better. It may say in an attribute ``watched``
on which data, by benchmark."""


def watched_by(evaluator: Evaluator | None) -> Mapping[str, Asked]:
    """On which data an evaluator scores, by benchmark; nothing of one that does not say."""
    watched: Mapping[str, Asked] = getattr(evaluator, "watched", {})
    return watched


@dataclass(frozen=True)
class WatchSettings:
    """What is watched.

    Args:
        benchmarks: names.
        benchmark: settings of each, as for ``mmpref evaluate``.
        every: steps between evaluations; the last step is evaluated too.
        limit: first samples of each benchmark.
        split: of all benchmarks, instead of their own. Choosing by a split makes it useless for reporting.
        best: ``benchmark/metric``: the adapter of the step where it is best is what the run keeps.
        patience: stop after so many evaluations in a row without a new best.
    """

    benchmarks: tuple[str, ...] = ()
    benchmark: dict[str, dict[str, Any]] = field(default_factory=dict, metadata=example("{pope: {data: mine.jsonl}}"))
    every: int = 100
    limit: int | None = None
    split: str | None = None
    best: str | None = None
    patience: int | None = None

    def __post_init__(self) -> None:
        if self.every < 1 or (self.patience is not None and self.patience < 1):
            raise UsageError("watch.every and watch.patience must be at least 1.")
        if (self.best or self.patience) and not self.benchmarks:
            raise UsageError("watch.best and watch.patience need a benchmark.", "Name one with --eval-benchmark.")


@dataclass(frozen=True)
class LoraSettings:
    """Low-rank adaptation of the language model, and of the vision tower where that is trained.

    Args:
        r: rank. The paper's is 128.
        alpha: scale; the update is alpha / r times the product. The paper's is 256.
        dropout: on the adapter's inputs. Above 0 it turns off TRL's ``disable_dropout``, which would undo it.
        use_rslora: the update is alpha / sqrt(r) times the product (rsLoRA, arXiv 2312.03732).
        use_dora: a weight's columns get a length of their own, and the product turns them (DoRA, arXiv 2402.09353).
    """

    r: int = 128
    alpha: int = 256
    dropout: float = 0.0
    use_rslora: bool | None = field(default=None, metadata=recipes.OPTIONAL)
    use_dora: bool | None = field(default=None, metadata=recipes.OPTIONAL)

    def __post_init__(self) -> None:
        if self.r < 1 or self.alpha < 1 or not 0 <= self.dropout < 1:
            raise UsageError(
                f"lora is r={self.r}, alpha={self.alpha}, dropout={self.dropout}; "
                "r and alpha must be at least 1 and dropout in [0, 1)."
            )


@dataclass(frozen=True)
class TrainRecipe:
    """Everything that decides an adapter.

    Args:
        model: Hub id, folder, or ``pkg:<package>/<path>``.
        dataset: preference data: Hub ids, files, folders or table names; several are concatenated.
        method: name of a training method; a former one becomes the present one.
        revision: of the model.
        split: of every data set.
        image_root: folders, or ``.zip`` files, that image paths in rows are relative to; by default a data set's own
            folder.
        columns: part of a row (``prompt``, ``answer``, ``image``, ...) -> the column that holds it, where its name is
            no known one (`mmpref.tables.columns`).
        default_prompt: asked of rows that have none, such as captions.
        limit: take only the first rows.
        seed: of the adapter's initial weights and of the order of rows.
        dtype: of the base model; ``auto`` is fp32 on a CPU and bf16 on an accelerator that has it.
        quantization: ``4bit`` or ``8bit``: QLoRA, on a base whose language model is quantized by bitsandbytes; adapter
            and projector are trained in full.
        device_map: of the base, such as ``auto`` to spread it over devices; by default it goes to one.
        trust_remote_code: run code that comes with the model.
        annotator: who ranks answers, for methods that ask.
        lora: rank, alpha and dropout.
        tuning: ``lora``, adapters; or ``full``, the weights of the language model themselves, in fp32, to a whole
            model. None is ``lora``.
        train_projector: train the vision-language projector too, in full.
        train_vision_tower: train the vision tower too: by LoRA, or in full where ``tuning`` is. It then runs at every
            step, and nothing that it made of an image is kept.
        projector_learning_rate: the projector's own; None takes the method's.
        share_prompt: run image and prompt once for both answers of a pair, where the architecture allows it;
            otherwise TRL's own forward.
        adapter: what `train` gave for this model, of the same ``lora`` and ``train_projector``: training goes on from
            it, and the reference of the loss is the model with that adapter on. By default a new adapter begins, and
            the reference is the model.
        adapter_revision: of the adapter.
        attn: which kernel attends where a prompt is shared: ``sdpa``, torch's own; ``flash``, FlashAttention, where no
            mask is needed; ``flex``, FlexAttention under a mask in blocks; ``auto``, by device, precision and size.
        preflight: whether the longest batch is tried before the first step: ``always``, ``never``, or ``auto``, on an
            accelerator. It has no part in the result.
        feature_cache_gb: room on disk, in units of 10^9 bytes, for what the frozen vision tower makes of all images,
            while the run lasts. Where it does not suffice, or with 0, the tower runs in every epoch.
        keep_checkpoints: keep the adapters of checkpoints in the run, under ``checkpoints/``, and publish them with it;
            how many there are say ``trainer.save_steps`` and ``trainer.save_total_limit``.
        watch: benchmarks while training: how often, which is best, when to stop.
        loss: settings of the method.
        trainer: options of TRL's `DPOConfig`, handed on as they are. What is not among them is the paper's
            (`PAPER`), and the learning rate the method's. A block of a recipe that was resolved
            (`recipes.ResolvedBlock`) says all that it wants: only the learning rate is filled in there. Of a file
            whose block says nothing of the batch `section_for_method` has filled in the paper's.
    """

    model: str = field(metadata=names("model"))
    dataset: tuple[str, ...] = field(default=(), metadata=names("table"))
    method: str = "dpo"
    revision: str | None = None
    split: str = "train"
    image_root: tuple[str, ...] = field(default=(), metadata=names("roots"))
    limit: int | None = None
    seed: int = 0
    dtype: recipes.Dtype = "auto"
    quantization: Literal["4bit", "8bit"] | None = None
    device_map: str | None = None
    trust_remote_code: bool = False
    annotator: str | None = field(default=None, metadata=names("annotator"))
    lora: LoraSettings = field(default_factory=LoraSettings)
    train_projector: bool = True
    projector_learning_rate: float | None = None
    share_prompt: bool = True
    preflight: Literal["auto", "always", "never"] = "auto"
    feature_cache_gb: float = 8.0
    keep_checkpoints: bool = False
    watch: WatchSettings = field(default_factory=WatchSettings, metadata=example("{benchmarks: [pope], every: 100}"))
    loss: dict[str, Any] = field(default_factory=dict, metadata=example("{beta: 0.1}"))
    trainer: dict[str, Any] = field(default_factory=dict, metadata=example("{learning_rate: 5e-6}"))
    columns: dict[str, str] | None = field(
        default=None, metadata=recipes.OPTIONAL | example("{image: file, answer: caption}")
    )
    default_prompt: str | None = field(default=None, metadata=recipes.OPTIONAL)
    attn: Literal["auto", "sdpa", "flash", "flex"] | None = field(default=None, metadata=recipes.OPTIONAL)
    adapter: str | None = field(default=None, metadata=recipes.OPTIONAL | names("adapter"))
    adapter_revision: str | None = field(default=None, metadata=recipes.OPTIONAL)
    tuning: Literal["lora", "full"] | None = field(default=None, metadata=recipes.OPTIONAL)
    train_vision_tower: bool | None = field(default=None, metadata=recipes.OPTIONAL)

    registry: ClassVar[Registry[Method]] = METHODS

    def __post_init__(self) -> None:
        object.__setattr__(self, "method", self.registry.current_name(self.method))
        rates = METHODS.get(self.method).rates
        paper = {} if isinstance(self.trainer, recipes.ResolvedBlock) else PAPER
        options = {"learning_rate": rates.learning_rate, **paper, **self.trainer}
        object.__setattr__(self, "trainer", recipes.ResolvedBlock(options))
        if self.projector_learning_rate is None:
            object.__setattr__(self, "projector_learning_rate", rates.projector)

    @property
    def in_full(self) -> bool:
        """Whether weights themselves are trained, and no adapter."""
        return self.tuning == "full"


def section_for_method(section: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe's section with the batch that it leaves open, and for another method than its own without what is meant
    for its own.

    Args:
        section: the recipe's settings, as a file has them.
        values: the same, with what was chosen instead (such as ``method``) on top.
    """
    own, chosen = (METHODS.current_name(one.get("method", TrainRecipe.method)) for one in (section, values))
    adapted, method = dict(section), METHODS.get(chosen)
    # Of a recipe without settings (`plain`, by which cards print whole commands) the command line says all.
    if section and not BATCH & (section.get("trainer") or {}).keys():
        adapted["trainer"] = {**PAPER, **(section.get("trainer") or {})}
    if chosen != own:
        known = {setting.name for setting in fields(method.settings)}
        adapted["loss"] = {key: value for key, value in (section.get("loss") or {}).items() if key in known}
        if not method.needs_annotator:
            adapted.pop("annotator", None)
    return adapted


def refuse(recipe: TrainRecipe, method: Method) -> None:
    """Refuse a recipe that its method can do nothing with.

    Raises:
        UsageError: an annotator that nobody asks, or none where one is asked; a number that cannot be; a kernel where
            no prompt is shared; a benchmark's metric to choose by where that benchmark is not watched; full fine-tuning
            of what cannot be trained so.
    """
    if recipe.annotator and not method.needs_annotator:
        raise UsageError(f"The method {recipe.method!r} asks no annotator.", "Leave --annotator out.")
    if method.needs_annotator and not recipe.annotator:
        raise UsageError(f"The method {recipe.method!r} needs an annotator.", "Name one with --annotator.")
    if endpoint_of(recipe.model):
        raise UsageError(
            f"{recipe.model} is a model behind an endpoint, and training changes weights.",
            "Give its Hub id or folder; for what a server can do while training, see docs/training.md.",
        )
    refuse_revision_alone(recipe.adapter, recipe.adapter_revision)
    if recipe.adapter and method.build:
        raise UsageError(
            f"The method {recipe.method} begins with an adapter of its own.",
            "Leave --adapter out, or use a method whose reference is a policy, such as dpo.",
        )
    if server := recipe.loss.get("server"):
        refuse_server(server, recipe.quantization, bool(recipe.lora.use_dora))
    if recipe.feature_cache_gb < 0:
        raise UsageError(f"feature_cache_gb is {recipe.feature_cache_gb:g}; it must be at least 0.")
    if not (recipe.projector_learning_rate or 0) >= 0:
        raise UsageError(
            f"projector_learning_rate is {recipe.projector_learning_rate:g}; it must not be below 0.",
            "0 leaves the projector as it is, and so does train_projector=false.",
        )
    if recipe.limit is not None and recipe.limit < 1:
        raise UsageError(f"limit is {recipe.limit}; it must be at least 1.")
    if recipe.attn and not (recipe.share_prompt and method.shares_prompt):
        who = f"the method {recipe.method}" if recipe.share_prompt else "share_prompt=false"
        raise UsageError(f"attn says how shared prompts are attended to, and {who} shares none.", "Leave attn out.")
    if recipe.in_full:
        _refuse_in_full(recipe, method)
    best, watched = recipe.watch.best, recipe.watch.benchmarks
    refuse_patience(recipe.watch, {f"{name}/METRIC": True for name in watched})
    if best and (name := best.partition("/")[0]) not in watched:
        raise UsageError(
            f"watch.best is {best!r}, and {name!r} is not among the benchmarks that are watched.",
            suggest(name, watched),
        )


def _refuse_in_full(recipe: TrainRecipe, method: Method) -> None:
    """Refuse what full fine-tuning cannot do."""
    if method.build:
        raise UsageError(
            f"The method {recipe.method} trains an adapter: tuning=full is for methods over pairs.", "Leave it out."
        )
    if recipe.adapter:
        raise UsageError(
            "tuning=full trains the weights of a model, and no adapter goes on.",
            "Leave one of them out, or merge the adapter first (publish --merge) and train what comes of it.",
        )
    if recipe.quantization:
        raise UsageError("Quantized weights cannot be trained: tuning=full is for weights in full.", "Leave one out.")
    if recipe.dtype in ("bfloat16", "float16"):
        raise UsageError(
            f"tuning=full trains weights in float32, not in {recipe.dtype}, which would round small steps away.",
            "Leave dtype out; --set trainer.bf16=true computes in mixed precision.",
        )
    if recipe.keep_checkpoints:
        raise UsageError("keep_checkpoints keeps adapters, and tuning=full makes none.", "Leave one of them out.")


def refuse_metric(metric: str | None, known: Mapping[str, bool | None]) -> None:
    """Refuse to choose by what cannot be chosen by.

    Args:
        known: whether more is better, by metric.

    Raises:
        UsageError: no benchmark has the metric, or neither more nor less of it is better.
    """
    if metric and metric not in known:
        raise UsageError(f"No benchmark here has the metric {metric!r}.", suggest(metric, list(known)))
    if metric and known[metric] is None:
        raise UsageError(f"Neither more nor less of {metric} is better.", _name_one(known))


def refuse_patience(watch: WatchSettings, known: Mapping[str, bool | None]) -> None:
    """Refuse to wait for a better value of nothing.

    Args:
        known: whether more is better, by metric of what is watched.

    Raises:
        UsageError: there is a patience, and no metric is named.
    """
    if watch.patience and not watch.best:
        raise UsageError("watch.patience needs watch.best.", _name_one(known))


def _name_one(known: Mapping[str, bool | None]) -> str:
    usable = [name for name, better in known.items() if better is not None]
    return (
        f"Name a metric, such as --best={usable[0]}" if usable else "Leave it out: no metric here is better or worse."
    )
