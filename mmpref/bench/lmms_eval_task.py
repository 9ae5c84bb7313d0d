"""One task of lmms-eval, by its own code: what it asks, and how it scores (``pip install mmpref[capabilities]``).

What a harness does between a task and a model is done here as lmms-eval's evaluator does it: the context is its own
few-shot context, images are those that the task gives, filters run before scores, and a metric's value is its own
aggregation of the scores of all questions.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import importlib.util
import inspect
import io
import json
import random
import re
import tempfile
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from mmpref.bench.lmms_eval_judge import Patience, judges_of, name_of, refuse_unavailable, requests_watched
from mmpref.errors import InputError, UsageError
from mmpref.hub_ids import is_commit
from mmpref.types import ImageData

if TYPE_CHECKING:
    from PIL import Image

INSTALL = "pip install 'mmpref[capabilities]'"
LONGEST = 1024
"""Tokens of an answer where a task states no limit: what lmms-eval's own models take then."""
IMAGE = "<image>"
"""What a task may write where the image belongs; it stands in front of the text all the same."""
_FEWSHOT_SEED = 1234  # lmms-eval's own default


@dataclass(frozen=True)
class Question:
    """What a task asks of one row.

    Args:
        number: of the row.
        text: the whole prompt.
        images: encoded losslessly; none where it asks about text alone.
        target: what it holds for right, as text.
        stops: the answer ends before the first of these.
    """

    number: int
    text: str
    images: tuple[ImageData, ...]
    target: str
    stops: tuple[str, ...]


@dataclass(frozen=True)
class Scores:
    """What a task makes of one answer.

    Args:
        by_metric: by the metric's name; behind a comma the filter, where there are several.
        unjudged: why the judge that the task asks gave no verdict: then they are no scores. Empty where it did.
    """

    by_metric: Mapping[str, Any]
    unjudged: str = ""


def refuse_absent() -> None:
    """Say how to get lmms-eval where it is not installed.

    Raises:
        UsageError: it is not.
    """
    if importlib.util.find_spec("lmms_eval") is None:
        raise UsageError("lmms-eval is not installed.", f"It comes with `{INSTALL}`.")


class HarnessTask:
    """A task that lmms-eval has loaded, with its data.

    Args:
        name: as lmms-eval calls it.
        task: its own object.
        judges: whom its code asks.
    """

    def __init__(self, name: str, task: Any, judges: Sequence[Any] = ()) -> None:
        self.name, self._task = name, task
        self._instances: dict[int, Any] = {}
        self._judges, self._judged = judges, dict[tuple[int, str], Scores]()
        self._patience = Patience(name)

    @property
    def split(self) -> str:
        """Of its data."""
        return str(self._task.config.test_split or self._task.config.validation_split)

    @property
    def data(self) -> str:
        """The Hub id of its data, or the task's own name where they lie elsewhere."""
        path = str(self._task.config.dataset_path or "")
        return path if path.count("/") == 1 and not path.startswith((".", "/")) else self.name

    @property
    def revision(self) -> str | None:
        """The commit of its data on the Hub; None where they are not from there."""
        files = [str(entry["filename"]) for entry in getattr(self._task.eval_docs, "cache_files", None) or []]
        return next((part for file in files for part in re.split(r"[\\/]", file) if is_commit(part)), None)

    @property
    def fingerprint(self) -> str:
        """Of the rows without their images, and of the version of lmms-eval that asks and scores."""
        digest = hashlib.sha256()
        for row in self._task.eval_docs_no_media:
            digest.update(json.dumps(row, sort_keys=True, default=str).encode())
        return f"sha256:{digest.hexdigest()} lmms-eval {version('lmms-eval')}"

    @property
    def judge(self) -> str | None:
        """Who is asked by the task's own code; None where nobody is."""
        return ", ".join(map(name_of, self._judges)) or None

    @property
    def max_new_tokens(self) -> int:
        return int((self._task.config.generation_kwargs or {}).get("max_new_tokens", LONGEST))

    @property
    def higher_is_better(self) -> Mapping[str, bool]:
        """Of its metrics, in their order."""
        found = self._task.higher_is_better()
        return {name: bool(found.get(name, True)) for name in self._task.aggregation()}

    def is_mean(self, metric: str) -> bool:
        """Whether a metric is the plain mean of its scores."""
        from lmms_eval.api.registry import get_aggregation

        return self._task.aggregation()[metric] is get_aggregation("mean")

    def questions(self, limit: int | None) -> Iterator[Question]:
        """In the order of the rows; the first of them only, where there is a limit."""
        with _quiet():
            self._task.build_all_requests(limit=limit, rank=0, world_size=1)
        docs = self._task.dataset[self.split]
        for instance in self._task.instances:
            text, kwargs, to_visual, number, *_ = instance.args
            self._instances[number] = instance
            visuals = to_visual(docs[number]) if callable(to_visual) else None
            stops = kwargs.get("until") or []
            yield Question(
                number,
                str(text).replace(IMAGE, "").strip() if visuals and IMAGE in str(text) else str(text),
                tuple(_encoded(visual, f"{self.name} {number}") for visual in visuals or ()),
                json.dumps(self._task.doc_to_target(docs[number]), default=str, ensure_ascii=False),
                # As lmms-eval's adapters of chat models: an empty line ends no answer.
                tuple(stop for stop in ([stops] if isinstance(stops, str) else stops) if stop.strip()),
            )

    def scores(self, number: int, answer: str) -> Scores:
        """What each metric of the task makes of one answer.

        Raises:
            InputError: the task's own code fails.
            ModelError: the judge that it asks is gone.
            RunError: its replies cannot be cached.
        """
        if not self._judges:
            return Scores(self._scores(number, answer))
        if (number, answer) in self._judged:  # whichever model has said it
            return self._judged[number, answer]
        with requests_watched() as watched:
            try:
                by_metric = self._scores(number, answer)
            except InputError:
                if not watched.failed:
                    raise
                by_metric = dict.fromkeys(self._metric_names)
        if watched.failed:
            return Scores(by_metric, self._patience.failed(next(iter(watched.failed.values()))))
        if watched.replied:  # some answers are read without it
            self._patience.replied()
        self._judged[number, answer] = Scores(by_metric)
        return self._judged[number, answer]

    @property
    def _metric_names(self) -> list[str]:
        metrics, filters = [*self._task.aggregation()], [each.name for each in self._task._filters]
        return [f"{metric},{name}" for metric in metrics for name in filters] if len(filters) > 1 else metrics

    def _scores(self, number: int, answer: str) -> dict[str, Any]:
        instance, doc = copy.copy(self._instances[number]), self._task.eval_docs_no_media[number]
        instance.resps, instance.filtered_resps = [answer], {}
        found: dict[str, Any] = {}
        random.seed(number)  # some draw where they cannot read an answer
        with _quiet(), self._own_errors(f"score question {number}"):
            for each in self._task._filters:
                each.apply([instance], [doc])
            several = len(instance.filtered_resps) > 1
            for key, filtered in instance.filtered_resps.items():
                for metric, item in self._task.process_results(doc, [filtered]).items():
                    if metric in self._task.aggregation():
                        found[f"{metric},{key}" if several else metric] = item
        return found

    def value(self, metric: str, items: Sequence[Any]) -> float:
        """A metric of the scores of all questions, in their order; NaN where it is not one number. It is the same
        however often it is asked for."""
        aggregation = self._task.aggregation()[metric.partition(",")[0]]
        with (
            _quiet(),
            self._own_errors(f"aggregate {metric}"),
            tempfile.TemporaryDirectory() as folder,
            _restored(aggregation),
        ):
            random.seed(0)
            takes_args = "args" in inspect.signature(aggregation).parameters
            try:
                made = aggregation([*items], **({"args": Namespace(output_path=folder)} if takes_args else {}))
            except ZeroDivisionError:
                return float("nan")
        return float(made) if isinstance(made, int | float) or hasattr(made, "item") else float("nan")

    @contextlib.contextmanager
    def _own_errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except (ZeroDivisionError, InputError):
            raise
        except Exception as error:  # whatever a task's own code raises
            last = getattr(error, "last_attempt", None)
            cause = (last.exception() if last else None) or error
            raise InputError(
                f"lmms-eval's task {self.name} could not {what} ({type(cause).__name__}: {str(cause)[:200]}).",
                "A task that asks a judge takes its key from the environment, as lmms-eval documents.",
            ) from error


@cache
def load_task(name: str, include: str | None) -> HarnessTask:
    """A task with its data.

    Args:
        include: folder of more task files, which lmms-eval's ``--include_path`` takes.

    Raises:
        UsageError: lmms-eval is not installed, has no such task, or the task is of a kind that is not asked here, or
            asks a judge that has no key.
        InputError: its data cannot be loaded.
    """
    refuse_absent()
    manager = _manager(include)
    if name not in manager.all_subtasks:
        members = _members(manager, name)
        known = f"It is a group; name its tasks: {', '.join(members)}." if members else _nearest(manager, name)
        raise UsageError(f"lmms-eval has no task {name!r}.", known)
    try:
        with _quiet():
            task = manager.load_task_or_group(name)[name]
    except Exception as error:  # of its loaders, the datasets library, or the task's own code
        last = getattr(error, "last_attempt", None)
        cause = (last.exception() if last else None) or error
        raise InputError(
            f"The data of lmms-eval's task {name} cannot be loaded ({type(cause).__name__}: {str(cause)[:300]}).",
            "Check the network, your access to the data, and the key of a judge that the task asks (OPENAI_API_KEY).",
        ) from error
    _refuse(name, task.config, task.OUTPUT_TYPE)
    if task.config.num_fewshot is None:
        task.set_config(key="num_fewshot", value=0)
    task.set_fewshot_seed(seed=_FEWSHOT_SEED)
    judges = judges_of([task.config.process_results, *task.aggregation().values()])
    refuse_unavailable(name, judges)
    return HarnessTask(name, task, judges)


@cache
def _manager(include: str | None) -> Any:
    """Knows all task files, which takes it seconds to read."""
    with _quiet():
        from lmms_eval.tasks import TaskManager

        return TaskManager("ERROR", include_path=include, model_name="mmpref")


def _refuse(name: str, config: Any, output_type: str) -> None:
    """Raises UsageError of a task that is not answered by one greedy answer to one prompt."""
    kwargs = config.generation_kwargs or {}
    reason = None
    if output_type != "generate_until":
        reason = f"asks by {output_type}"
    elif int(config.repeats or 1) > 1:
        reason = f"asks each question {config.repeats} times"
    elif int(kwargs.get("num_beams") or 1) > 1 or float(kwargs.get("temperature") or 0) > 0:
        reason = "wants sampled answers or beams"
    if reason:
        raise UsageError(
            f"lmms-eval's task {name} {reason}.", "Tasks are asked that take one greedily decoded answer a question."
        )


def _members(manager: Any, name: str) -> list[str]:
    """The tasks of a group or tag."""
    if name not in manager.task_index:
        return []
    listed = manager.task_index[name].get("task")
    if listed in (None, -1):
        with _quiet():
            listed = manager._get_config(name).get("task", [])
    return [one if isinstance(one, str) else str(one.get("task")) for one in listed]


def _nearest(manager: Any, name: str) -> str:
    import difflib

    close = difflib.get_close_matches(name, manager.all_subtasks, n=3)
    return f"Did you mean {', '.join(close)}?" if close else "`lmms-eval tasks list` lists them."


def _encoded(visual: Any, where: str) -> ImageData:
    """An image as a PNG file, which loses nothing.

    Raises:
        InputError: sound or video.
    """
    from PIL import Image

    if not isinstance(visual, Image.Image):
        raise InputError(f"{where} is about a {type(visual).__name__}, not an image.", "Models here see images.")
    buffer = io.BytesIO()
    picture: Image.Image = visual if visual.mode == "RGB" else visual.convert("RGB")
    picture.save(buffer, "PNG")
    return ImageData(buffer.getvalue(), where)


@contextlib.contextmanager
def _restored(function: Any) -> Iterator[None]:
    """Afterwards whatever of its module a function names is what it was: some aggregations (OCRBench's) add up in a
    dictionary of the module what they are given, as if a process called them once."""
    function = getattr(function, "func", function)
    names = getattr(getattr(function, "__code__", None), "co_names", ())
    module = getattr(function, "__globals__", {})
    before = {name: module[name] for name in names if name in module}
    contents = {name: copy.deepcopy(held) for name, held in before.items() if isinstance(held, dict | list | set)}
    try:
        yield
    finally:
        module.update(before)
        for name, content in contents.items():
            before[name].clear()
            before[name].extend(content) if isinstance(content, list) else before[name].update(content)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Within it lmms-eval writes nothing to the screen: its progress bars, its log and what its tasks print."""
    from loguru import logger

    logger.disable("lmms_eval")
    nowhere = io.StringIO()
    try:
        with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
            yield
    finally:
        logger.enable("lmms_eval")
