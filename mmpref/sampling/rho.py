"""``rho_th: auto``: how many image tokens a try shows, by what first tries resolve (arXiv 2407.02477, figure 10).

The paper tunes rho_th by the share of pairs that its tries resolve: one try resolves more than 74 % of them, and hiding
all is no better than hiding nearly all. Here the first try of the same rows is run with 0, 1, 2, 4, 8, 16, 30 and all
image tokens visible in the mean, with the same draws at every point: a point shows what the points before it show, and
more. **The rule:** the most visible tokens whose share is within 3 points of the best share. What is shown beyond what
the method needs costs nothing, and keeps rejected answers close to the image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from mmpref.errors import HubError, InputError, ModelError, RunError, UsageError, is_out_of_memory, reason_of
from mmpref.log import logger
from mmpref.sampling.bdhs import BdhsSampler, Rejected
from mmpref.sampling.settings import BdhsSettings
from mmpref.types import Example
from mmpref.vlm.encode import EncodedPrompt

if TYPE_CHECKING:
    from mmpref.sampling.similarity import Similarity
    from mmpref.vlm.policy import Policy

GRID: tuple[float | None, ...] = (0, 1, 2, 4, 8, 16, 30, None)
"""Visible tokens; None for all."""
ROWS = 64
"""First rows that are tried."""
WITHIN = 0.03
"""Of the best share."""
_TOGETHER = 8
"""Rows whose image tokens are all held at a time."""
_FATAL_ERRORS = (ModelError, HubError, RunError, UsageError)
"""What no row is to blame for."""


@dataclass(frozen=True)
class Point:
    """First tries with so many image tokens visible.

    Args:
        visible_tokens: in the mean; None for all.
        rho_th: that this comes to, the mean over rows.
        resolved: share of the rows whose first try is taken.
    """

    visible_tokens: float | None
    rho_th: float
    resolved: float

    @property
    def name(self) -> str:
        return "all" if self.visible_tokens is None else f"{self.visible_tokens:g}"


@dataclass(frozen=True)
class Choice:
    """What first tries of some rows say.

    Args:
        rows: that were tried.
        curve: by visible tokens, from none to all.
        chosen: one of them, by the rule.
    """

    rows: int
    curve: tuple[Point, ...]
    chosen: Point

    @property
    def settings(self) -> dict[str, float | None]:
        """The settings that stand for ``auto`` from here on."""
        visible = self.chosen.visible_tokens
        return {"rho_th": 0.0 if visible is None else None, "visible_tokens": visible}

    def as_plain(self) -> dict[str, Any]:
        """For a report: ``rows``, ``curve``, ``chosen`` (visible tokens; None for all), and ``within`` of the rule."""
        return {
            "rows": self.rows,
            "within": WITHIN,
            "curve": [asdict(point) for point in self.curve],
            "chosen": self.chosen.visible_tokens,
        }


def choose_rho(
    policy: Policy, similarity: Similarity, settings: BdhsSettings, seed: int, examples: Sequence[Example]
) -> Choice:
    """Run first tries of the examples at every point of the grid, and choose.

    Examples that cannot be used are left out. Cost: a first try at each point, the images encoded once.

    Raises:
        InputError: no example can be used.
    """
    sampler = _FirstTries(policy, similarity, replace(settings, rho_th=0.0, iterations=1), seed)
    found = [
        row for start in range(0, len(examples), _TOGETHER) for row in _tries(sampler, examples[start:][:_TOGETHER])
    ]
    if not found:
        raise InputError("No row can be used to choose rho_th.", "Give rho_th or visible_tokens.")
    curve = tuple(
        Point(
            visible,
            sum(row[place].rho_th for row in found) / len(found),
            sum(sampler.resolves(row[place]) for row in found) / len(found),
        )
        for place, visible in enumerate(GRID)
    )
    choice = Choice(len(found), curve, choose(curve))
    shares = ", ".join(f"{point.name}: {point.resolved:.1%}" for point in curve)
    logger.info("rho_th auto: pairs that the first try resolves on %d rows, by visible tokens: %s.", len(found), shares)
    logger.info("Chosen: %s visible, the most within %.0f points of the best.", choice.chosen.name, 100 * WITHIN)
    return choice


def choose(curve: Sequence[Point]) -> Point:
    """The rule, on points from none to all visible."""
    best = max(point.resolved for point in curve)
    return [point for point in curve if point.resolved >= best - WITHIN - 1e-9][-1]


class _FirstTries(BdhsSampler):
    """The first try of each example at every point of the grid, each image encoded once."""

    def _keep_shown(self, jobs: Any, number: int, prompt: EncodedPrompt) -> EncodedPrompt:
        jobs[number].prompt, jobs[number].image_tokens, jobs[number].inputs = prompt, prompt.image_tokens, {}
        return prompt

    def at_all_points(self, examples: Sequence[Example]) -> list[list[Rejected]]:
        """For each example what its first try gives at each point."""
        jobs, owners = [], []
        for example, job in enumerate(self._jobs(examples)):
            draws = self.draws(job, 1)
            for rho in sorted({_rho(visible, job.image_tokens) for visible in GRID}):
                jobs.append(replace(job, rho_th=rho, shown=(draws >= rho)[None]))
                owners.append((example, rho))
        results: dict[int, Rejected] = {}
        self._run(range(len(jobs)), jobs, range(1, 2), self.settings.guidance, results)
        made = {owner: results[index] for index, owner in enumerate(owners)}
        tokens = {example: jobs[index].image_tokens for index, (example, _) in enumerate(owners)}
        return [[made[example, _rho(visible, tokens[example])] for visible in GRID] for example in range(len(examples))]


def _rho(visible: float | None, image_tokens: int) -> float:
    return 0.0 if visible is None else BdhsSettings(visible_tokens=visible).rho(image_tokens)


def _tries(sampler: _FirstTries, examples: Sequence[Example]) -> list[list[Rejected]]:
    """Of the examples together, and where one of them cannot be used, of the others one by one."""
    try:
        return sampler.at_all_points(examples)
    except _FATAL_ERRORS:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        if len(examples) > 1:
            return [row for example in examples for row in _tries(sampler, [example])]
        logger.warning("Row %s is left out of the choice of rho_th: %s", examples[0].id, reason_of(error))
        return []
