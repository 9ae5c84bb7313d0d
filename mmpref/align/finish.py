"""The end of a training: what was saved verified, its plot, its card, and the run's manifest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mmpref.align.divergence import first_loss
from mmpref.align.log_means import final_metrics, final_over, log_until
from mmpref.align.plot import plot
from mmpref.align.summary import reference_text, remarks_on
from mmpref.run.directory import Run, WriteCard
from mmpref.run.files import JsonLines
from mmpref.run.manifest import product_of
from mmpref.run.training_images import write_training_images
from mmpref.tables.named_images import pin_named_images
from mmpref.types import ModelRef

if TYPE_CHECKING:
    from mmpref.align.preference_data import Pairs


@dataclass(frozen=True)
class Trained:
    """What is left of a training when its model is out of memory.

    Args:
        model: the base, at the commit that was loaded.
        facts: for the manifest.
        verify: loads what was saved, and compares it with what was trained.
    """

    model: ModelRef
    pairs: Pairs
    facts: dict[str, Any]
    verify: Callable[[], dict[str, Any]]


def finish(run: Run, trained: Trained, write_card: WriteCard | None) -> None:
    """Verify what was saved, and write plot, card and manifest."""
    from mmpref.origins.earlier_data import EARLIER, earlier_data
    from mmpref.origins.revisions import licence_of, training_images_of

    # The trained policy is out of memory by now: this loads the model a second time.
    verification = trained.verify()
    rows = JsonLines(run.path / "log.jsonl").rows()
    best = trained.facts.get("best")
    before = "first adapter" if "began" in trained.facts else "base"
    product = product_of({"command": "train", "recipe": run.recipe})
    reward = trained.facts.get("logged_reward")
    plot(rows, run.path / "training.png", trained.facts.get("evaluations") or (), best, before, product, reward)
    rows = log_until(rows, best)
    final, first = final_metrics(rows), first_loss(rows)
    every = trained.facts.get("reference_every")
    moving = (every, trained.facts["steps"]) if every else None
    start = "the adapter that training went on from" if "kl_from_began" in verification else "the base"
    kl = verification.get("kl_from_began", verification.get("kl"))
    model, pairs, began = trained.model, trained.pairs, trained.facts.get("began")
    earlier = training_images_of(began["id"], began["revision"]) if began else ()
    pin_named_images(run, pairs.named)
    write_training_images(run.path, pairs.image_digests().union(earlier))
    facts = {
        "model": {"id": model.model, "revision": model.revision, "licence": licence_of(model.model, model.revision)},
        "method": run.recipe["method"],
        "datasets": pairs.sources,
        **({EARLIER: earlier_data(trained.facts)} if began else {}),
        "languages": pairs.languages(),
        "counts": {
            "rows": len(pairs.dataset),
            "skipped": pairs.skipped,
            **({"changed": pairs.changed} if pairs.changed else {}),
            **({"repeated": pairs.repeated} if pairs.repeated else {}),
        },
        **({"skipped_rows": pairs.skips} if pairs.skips else {}),
        "seeds": {"run": run.recipe["seed"]},
        **trained.facts,
        "final": final,
        "final_over": final_over(rows),
        "remarks": remarks_on(
            final,
            kl,
            moving,
            reference_text(moving, "began" in trained.facts),
            start,
            product,
            first,
            only_step=trained.facts["steps"] == 1,
        ),
        "probe": verification,
    }
    run.finish(facts, write_card)
