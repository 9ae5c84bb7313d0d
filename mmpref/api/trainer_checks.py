"""What a training recipe says to TRL, before its work starts."""

from __future__ import annotations

from mmpref.align.recipe import TrainRecipe
from mmpref.api.settings import advised
from mmpref.recipes.schema import build
from mmpref.registry import resolve_path


def refuse_names(recipe: TrainRecipe) -> None:
    """Refuse options that TRL does not have, without importing it, where their names can be known.

    Raises:
        UsageError: there is no such option.
    """
    from mmpref.align import trl_names, trl_options
    from mmpref.align.method import METHODS

    method = METHODS.get(recipe.method)
    if recipe.trainer and method.takes_dpo_config and (known := trl_names.dpo_names()):
        with advised("train", {"method": recipe.method}):
            trl_options.refuse_names(recipe.trainer, known, method.trainer(build(method.settings, recipe.loss, "loss")))


def check(recipe: TrainRecipe, *, whole: bool = False) -> None:
    """Refuse options that TRL does not have.

    Args:
        whole: make TRL's configuration of them too, which looks at values and at what contradicts each other, and see
            that the trackers are installed.

    Raises:
        UsageError: an option that TRL does not have, or refuses.
    """
    from mmpref.align import trl_options
    from mmpref.align.method import METHODS

    method = METHODS.get(recipe.method)
    options, kind = method.trainer(build(method.settings, recipe.loss, "loss")), method.config()
    with advised("train", {"method": recipe.method}):
        trl_options.check(recipe.trainer, options, kind)
    if whole:
        from mmpref.align import report_to

        report_to.check(report_to.names_of(recipe.trainer.get("report_to")))
        trl_options.refuse(recipe.trainer, options, kind, dtype=recipe.dtype, dropout=recipe.lora.dropout > 0)


def refuse_unknown_token(recipe: TrainRecipe) -> None:
    """Refuse a padding token that the model's tokenizer does not know.

    Raises:
        UsageError: it does not.
        ModelError: there is no such model.
    """
    if not (token := recipe.trainer.get("pad_token")):
        return
    from transformers import AutoTokenizer

    from mmpref.align import trainer_factory
    from mmpref.hub_cache import cache_first
    from mmpref.origins.revisions import commit_of
    from mmpref.vlm.load_errors import load_errors

    with load_errors(f"model {recipe.model}"):
        commit = commit_of(recipe.model, recipe.revision)
        with cache_first(recipe.model, commit):
            tokenizer = AutoTokenizer.from_pretrained(
                resolve_path(recipe.model), revision=commit, trust_remote_code=recipe.trust_remote_code
            )
    trainer_factory.refuse_unknown_token(token, tokenizer, recipe.model)
