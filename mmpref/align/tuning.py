"""What of a model is trained: LoRA in the language model and the projector in full, or the weights themselves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from mmpref.align.adapter import is_projector, lora_config, projector_path
from mmpref.align.recipe import LoraSettings, TrainRecipe

if TYPE_CHECKING:
    from peft import LoraConfig

    from mmpref.vlm.policy import Policy


@dataclass(frozen=True)
class Tuning:
    """What is trained.

    Args:
        lora: None where the weights themselves are trained (full fine-tuning): all but those of projector and vision
            tower, which the next two decide on.
        projector: the projector too, in full.
        vision_tower: the vision tower too, as the language model is.
    """

    lora: LoraSettings | None
    projector: bool = True
    vision_tower: bool = False

    @classmethod
    def of(cls, recipe: TrainRecipe) -> Tuning:
        """A recipe's."""
        lora = None if recipe.in_full else recipe.lora
        return cls(lora, recipe.train_projector, bool(recipe.train_vision_tower))

    @property
    def leaves_parameters_unused(self) -> bool:
        """Whether a step may give some of what is trained no gradient: models read a layer of the tower before its
        last, and a text alone none."""
        return self.vision_tower or self.lora is None

    def prepare(self, policy: Policy) -> Callable[..., LoraConfig | None]:
        """Make a loaded policy ready to be trained so.

        Returns:
            What makes PEFT's configuration, given names of further modules that are trained in full; None of full
            fine-tuning, whose parameters that stay as they are ask for no gradient from now on.

        Raises:
            ModelError: the model does not tell its vision tower or its projector apart.
        """
        policy.trains_tower = self.vision_tower
        if self.lora is None:
            self._free(policy)
            return lambda in_full=(): None
        return partial(lora_config, policy, self.lora, self.projector, train_vision_tower=self.vision_tower)

    def _free(self, policy: Policy) -> None:
        from mmpref.vlm.vision_tower import VisionTower

        model = policy.base_model
        frozen = set() if self.vision_tower else set(VisionTower(policy).parameters())
        if not self.projector:
            frozen |= set(model.get_submodule(projector_path(policy)).parameters())
        for parameter in model.parameters():
            parameter.requires_grad_(parameter not in frozen)


def parts_of(model: Any, policy: Policy | None) -> dict[str, str]:
    """The part that each trained parameter counts for, by its name: ``lora`` or ``projector`` of an adapter; of full
    fine-tuning ``language_model``, ``vision_tower`` or ``projector``.

    Args:
        model: the one that is trained.
        policy: around that model; without one all that is no adapter's counts for the language model.
    """
    trained = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    if hasattr(model, "peft_config"):
        return {name: "projector" if is_projector(name) else "lora" for name, _ in trained}
    if policy is None:
        return dict.fromkeys((name for name, _ in trained), "language_model")
    from mmpref.vlm.vision_tower import VisionTower

    tower = VisionTower(policy)
    seen, projector = set(tower.parameters()) if tower.is_told_apart else set(), policy.family.projector
    return {
        name: "vision_tower" if value in seen else "projector" if projector in name.split(".") else "language_model"
        for name, value in trained
    }
