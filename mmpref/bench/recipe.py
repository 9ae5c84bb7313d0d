"""What decides an evaluation's numbers: the recipe of ``evaluate``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from mmpref.judges.resolve import endpoint_of
from mmpref.recipes import schema as recipes
from mmpref.recipes.in_words import example
from mmpref.recipes.names import names

BlindMode = Literal["no-image", "masked"]
"""The image-blind control: the prompt has no image at all, or all of its image tokens are hidden (BDHS with rho 1)."""


@dataclass(frozen=True)
class EvaluateRecipe:
    """Everything that decides the results. The batch size does not, so it is not here.

    Args:
        model: the base: Hub id, folder, or ``URL#MODEL`` for one behind an OpenAI-compatible endpoint.
        revision: of the model.
        adapter: scored beside the base, if given: Hub id, or a run's folder; of a served base ``URL#MODEL``, as a
            server calls the base with the adapter.
        adapter_revision: of the adapter.
        benchmarks: names, as ``mmpref list benchmarks`` has them.
        benchmark: settings of each by name.
        split: of all benchmarks, instead of their own.
        image_root: folders, or ``.zip`` files, that image paths in the benchmarks' rows are relative to.
        columns: what a benchmark reads (``question``, ``answer``, ``image``, ...) -> the column of one's own data that
            holds it; of benchmarks whose ``data`` are named.
        limit: first samples of each only.
        seed: of the bootstrap.
        blind: the image-blind control: every benchmark is asked without its images, and named so.
        judge: who judges the answers of benchmarks that need it (`mmpref.bench.judging`).
        judge_prompt: template for the judge, in place of the benchmark's own.
        judge_temperature: of its replies; 0 is greedy.
        judge_max_tokens: bound on a reply of the judge.
        judge_repeats: how often it is asked the same; the first time scores, all of them give the judge's noise.
        judge_revision, endpoint_revision: any word that tells apart what an endpoint serves under one name (a judge's
            replies are kept by it, and a model's run belongs to it), for a server that was started with other weights.
        thinking: markers of reasoning beside the known ones, of model and judge, each ``OPEN CLOSE``
            (`mmpref.reasoning`).
        dtype: of the model; ``auto`` is fp32 on a CPU, and the checkpoint's own elsewhere.
        trust_remote_code: run code that comes with the model.
        quantization: ``4bit`` or ``8bit`` loading of the model, by bitsandbytes.
        device_map: of the model, such as ``auto`` to spread it over devices; by default it goes to one.
    """

    model: str = field(metadata=names("model"))
    benchmarks: tuple[str, ...]
    revision: str | None = None
    adapter: str | None = field(default=None, metadata=names("adapter"))
    adapter_revision: str | None = None
    benchmark: dict[str, dict[str, Any]] = field(default_factory=dict, metadata=example("{pope: {data: mine.jsonl}}"))
    split: str | None = None
    limit: int | None = None
    seed: int = 0
    blind: BlindMode | None = None
    judge: str | None = field(default=None, metadata=names("annotator"))
    judge_prompt: str | None = None
    judge_temperature: float = 0.0
    judge_max_tokens: int = 1024
    judge_repeats: int = 1
    judge_revision: str | None = None
    endpoint_revision: str | None = None
    thinking: tuple[str, ...] = ()
    dtype: recipes.Dtype = "auto"
    quantization: Literal["4bit", "8bit"] | None = None
    device_map: str | None = None
    trust_remote_code: bool = False
    image_root: tuple[str, ...] | None = field(default=None, metadata=recipes.OPTIONAL | names("roots"))
    columns: dict[str, str] | None = field(
        default=None, metadata=recipes.OPTIONAL | example("{image: file, answer: caption}")
    )

    @property
    def endpoint(self) -> tuple[str, str] | None:
        """URL and name of a model behind an endpoint.

        Raises:
            UsageError: one without its name.
        """
        return endpoint_of(self.model)

    @property
    def adapter_endpoint(self) -> tuple[str, str] | None:
        """URL and name of a served adapter.

        Raises:
            UsageError: one without its name.
        """
        return endpoint_of(self.adapter) if self.adapter else None

    def label(self, benchmark: str) -> str:
        """What the results of a benchmark are called: those of a blind model never have a sighted one's name, and no
        file's name a colon."""
        label = benchmark.replace(":", ".", 1)
        return f"{label}-blind-{self.blind}" if self.blind else label

    @property
    def title(self) -> str:
        """All of them, for the name of the run's folder."""
        return "-".join(map(self.label, self.benchmarks))
