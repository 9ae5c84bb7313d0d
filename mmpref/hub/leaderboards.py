"""Benchmarks that the Hub keeps leaderboards of, and the tasks of theirs that mmpref scores.

A dataset on the Hub's list of benchmarks says in its ``eval.yaml`` which framework scores its tasks, and what they are
called (https://huggingface.co/docs/hub/eval-results). An entry for another dataset is shown nowhere, and one for
another framework's task is another number.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError

from mmpref.errors import HubError, InputError
from mmpref.hub._calls import Calls, Retry
from mmpref.hub.cards.merge import load_metadata
from mmpref.log import logger
from mmpref.run.asked import DEFAULT_CONFIG
from mmpref.text_files import read_text

FRAMEWORK = "mmpref"
"""What an ``eval.yaml`` calls us."""
DECLARATION = "eval.yaml"
_OFFICIAL = "benchmark:official"


@dataclass(frozen=True)
class Task:
    """One leaderboard of a benchmark.

    Args:
        id: such as ``pope_accuracy``: of mmpref's tasks a benchmark and a metric.
        split, config: of the dataset, whose rows are asked.
    """

    id: str
    split: str = "test"
    config: str = DEFAULT_CONFIG

    def is_of(self, data: Mapping[str, Any]) -> bool:
        """Whether these are the rows that a table's facts describe."""
        return (self.split, self.config) == (data.get("split"), data.get("config") or DEFAULT_CONFIG)


def leaderboards(datasets: Iterable[str], api: HfApi, token: str) -> dict[str, tuple[Task, ...]]:
    """The tasks of Hub datasets that mmpref scores; of one without any, and of one that the Hub does not list, none.

    Raises:
        HubError: the Hub does not answer.
    """
    return {name: _tasks_of(name, api, Calls(name, api.endpoint, token, Retry(attempts=3))) for name in set(datasets)}


def _tasks_of(dataset: str, api: HfApi, calls: Calls) -> tuple[Task, ...]:
    try:
        info = calls.run("look for a leaderboard", lambda: api.dataset_info(dataset))
        if _OFFICIAL not in (info.tags or ()) or not _declares(info.siblings):
            return ()
        file = calls.run(
            f"read its {DECLARATION}",
            lambda: api.hf_hub_download(dataset, DECLARATION, repo_type="dataset", revision=info.sha),
        )
    except HubError as error:
        if isinstance(error.__cause__, HfHubHTTPError) and error.__cause__.response.status_code in (401, 403, 404):
            return ()
        raise
    try:
        content = load_metadata(read_text(Path(file)))
        if content["evaluation_framework"] != FRAMEWORK:
            return ()
        fields = ("id", "split", "config")
        return tuple(Task(**{name: str(task[name]) for name in fields if name in task}) for task in content["tasks"])
    except (InputError, yaml.YAMLError, TypeError, KeyError) as error:
        logger.warning("Warning: the %s of %s cannot be read: %s", DECLARATION, dataset, " ".join(str(error).split()))
        return ()


def _declares(siblings: Iterable[Any] | None) -> bool:
    return any(sibling.rfilename == DECLARATION for sibling in siblings or ())
