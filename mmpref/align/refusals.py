"""What a training is refused for by where it is started: its processes, this machine, a launcher that shards models."""

from __future__ import annotations

from mmpref.align.method import Method
from mmpref.align.recipe import TrainRecipe
from mmpref.distributed import is_model_sharded, num_processes
from mmpref.errors import UsageError
from mmpref.recipes import schema as recipes


def refuse_launch(recipe: TrainRecipe, method: Method) -> None:
    """Refuse what the processes that were started cannot train together.

    Raises:
        UsageError: a model that is spread over devices of other processes, or one that is sharded where somebody needs
            it as a whole.
    """
    if recipe.device_map and num_processes() > 1:
        raise UsageError(
            f"device_map={recipe.device_map} spreads the model over devices that the other processes use.",
            "Leave it out, or start one process.",
        )
    if is_model_sharded():
        _refuse_sharding(recipe, method)


def refuse_machine(recipe: TrainRecipe) -> None:
    """Refuse what this machine cannot do; a run that another one has finished needs nothing of it.

    Raises:
        UsageError: a server that weights cannot be sent to, or a kernel that cannot be had.
    """
    if server := recipe.loss.get("server"):
        from mmpref.align.served_policy import refuse_sending

        refuse_sending(server)
    if recipe.attn:
        import torch

        from mmpref.vlm import kernels

        kernels.refuse(recipe.attn, kernels.Place(torch.device("cuda" if torch.cuda.is_available() else "cpu")))


def _refuse_sharding(recipe: TrainRecipe, method: Method) -> None:
    """Refuse a launcher's configuration that shards the model where somebody needs it as a whole."""
    if recipe.quantization:
        raise UsageError("A quantized model cannot be sharded.", "Launch it with the configuration ddp.")
    if recipe.in_full:
        raise UsageError("tuning=full keeps a copy of the whole model.", "Launch it with the configuration ddp.")
    if method.samples_answers:
        user = f"The method {recipe.method} writes answers with"
    elif method.build:
        user = f"The method {recipe.method} asks"
    elif method.reference_every(recipes.build(method.settings, recipe.loss, "loss")):
        user = f"The method {recipe.method} keeps a copy of"
    elif recipe.adapter:
        user = "Going on from an adapter keeps a copy of"
    elif method.distributions:
        user = f"The method {recipe.method} compares distributions of"
    elif recipe.watch.benchmarks:
        user = "Benchmarks while training ask"
    else:
        return
    raise UsageError(f"{user} the whole model, which is sharded here.", "Launch it with the configuration ddp.")
