"""Whether a finished evaluation is still that of its recipe: nothing that it was made of has changed since."""

from __future__ import annotations

from mmpref.bench.identity import data_as_begun, data_facts, ref_of, refuse_other_identity
from mmpref.bench.plan import load_plan
from mmpref.bench.recipe import EvaluateRecipe
from mmpref.errors import HubError, InputError
from mmpref.run.directory import Run
from mmpref.run.inputs import warn_unchecked


def refuse_changed(run: Run, recipe: EvaluateRecipe) -> None:
    """Not to show the results of one model, adapter, judge or table as those of another that has its name since. It is
    warned of what cannot be looked at any more.

    Args:
        run: a finished one.
        recipe: with every setting of its benchmarks.

    Raises:
        RunError: the base, the adapter, the judge, or data with their images, have changed.
    """
    data, begun = {}, data_as_begun(run)
    for name in recipe.benchmarks:
        settings = recipe.benchmark[name]
        try:
            plan = load_plan(name, recipe.label(name), settings, recipe.limit, begun.get(name))
        except (HubError, InputError) as error:
            warn_unchecked(run.path, f"the data of {name}", str(error))
        else:
            data[name] = data_facts(plan.table, plan.samples, settings)
    refuse_other_identity(run, ref_of(recipe), data, recipe.judge)
