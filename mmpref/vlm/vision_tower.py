"""The part of a policy that sees images: everything before its projector. It is frozen unless a training changes it.

What it makes of an image can be recorded and replayed later, so that the tower runs once for policy and
reference, for base and adapter, or for all epochs, while each of them applies a projector of its own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch

from mmpref.errors import ModelError

if TYPE_CHECKING:
    from mmpref.vlm.policy import Policy

Features = Sequence[torch.Tensor]
"""What the tower's exits (the projector among them) are given, in the order of their calls."""


class _ProjectorReached(Exception):
    pass


class FeatureMismatch(ModelError):
    """Recorded features are not of the shape or number that a run asks for."""


@contextlib.contextmanager
def forward_of(module: Any, forward: Callable[..., Any] | None) -> Iterator[None]:
    """Within it a module's forward is another, or with None its class's own; then it is again what it was before, a
    hook of accelerate's, say."""
    before = module.__dict__.pop("forward", None)
    if forward is not None:
        module.forward = forward
    try:
        yield
    finally:
        module.__dict__.pop("forward", None)
        if before is not None:
            module.forward = before


def own_precision(model: Any) -> contextlib.AbstractContextManager[None]:
    """Within it a model's forward is not the one that accelerate has put around it for mixed precision, if it has: that
    one is an autocast that stays on for good where it is entered twice."""
    before = model.__dict__.get("_original_forward")
    return forward_of(model, before) if before else contextlib.nullcontext()


class VisionTower:
    """A policy's vision tower; a frozen module whose last calls are those of its exits, the projector among them."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._module: torch.nn.Module = policy.base_model.get_encoder(modality="image")

    @property
    def is_supported(self) -> bool:
        """Whether it is told apart from the rest of the model, and neither an adapter nor a training changes it. If
        not, it can only be run."""
        if self._policy.trains_tower or not self._is_told_apart_by(projectors := self._projectors()):
            return False
        return not hasattr(self._policy.model, "peft_config") or not _is_adapted(self._without(projectors))

    @property
    def is_told_apart(self) -> bool:
        """Whether it is a module of its own, and known where its projector begins."""
        return self._is_told_apart_by(self._projectors())

    def _is_told_apart_by(self, projectors: Sequence[torch.nn.Module]) -> bool:
        base = self._policy.base_model
        return bool(projectors) and self._module is not base and self._module is not base.base_model

    def modules(self) -> list[torch.nn.Module]:
        """All of its modules, projectors that lie in it apart.

        Raises:
            ModelError: it is not told apart from the rest of the model.
        """
        if not self.is_told_apart:
            raise ModelError(
                f"{self._policy.ref} does not tell its vision tower from the rest of the model.",
                "Training all of it can do without: --set tuning=full --set train_vision_tower=true.",
            )
        return self._without(self._projectors())

    def _without(self, projectors: Sequence[torch.nn.Module]) -> list[torch.nn.Module]:
        behind = {module for projector in projectors for module in projector.modules()}
        return [module for module in self._module.modules() if module not in behind]

    def linear_layers(self) -> list[str]:
        """Paths in the base model of its linear layers. Those inside of torch's own attention are none: it reads their
        weights, and does not call them.

        Raises:
            ModelError: as `modules`.
        """
        own = self.modules()
        inside = {
            part for module in own if isinstance(module, torch.nn.MultiheadAttention) for part in module.children()
        }
        linear = {module for module in own if isinstance(module, torch.nn.Linear)} - inside
        return [path for path, module in self._policy.base_model.named_modules() if module in linear]

    def parameters(self) -> list[torch.nn.Parameter]:
        """Its own parameters, projectors that lie in it apart.

        Raises:
            ModelError: as `modules`.
        """
        return [parameter for module in self.modules() for parameter in module.parameters(recurse=False)]

    # Looked up at each use: PEFT puts others into the place of modules that are trained.

    def _projectors(self) -> list[torch.nn.Module]:
        name = self._policy.family.projector
        return [module for _, own, module in _places(self._policy.base_model) if name and own == name]

    def _exits(self) -> list[torch.nn.Module]:
        name = self._policy.family.deepstack
        early = [module for parent, _, module in _places(self._policy.base_model) if parent == name] if name else []
        return self._projectors() + early

    def _layers(self) -> list[torch.nn.Module]:
        """The tower's body: the largest of its lists."""
        exits = set(self._exits())
        lists = [
            layers
            for layers in self._module.modules()
            if isinstance(layers, torch.nn.ModuleList) and not exits & set(layers.modules())
        ]
        return max(map(list, lists), key=_size, default=[])

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """No graph through the tower. Gradient checkpointing asks every embedding for gradients, frozen ones too."""
        if not self.is_supported:
            yield
            return
        wanted: list[bool] = []
        before = torch.is_grad_enabled()

        def enter(*_: Any) -> None:
            wanted.append(torch.is_grad_enabled())
            torch.set_grad_enabled(False)

        def project(*_: Any) -> None:
            if wanted:
                torch.set_grad_enabled(wanted[-1])

        def leave(*_: Any) -> None:
            torch.set_grad_enabled(wanted.pop())

        hooks = [
            self._module.register_forward_pre_hook(enter),
            self._module.register_forward_hook(leave),
            *(projector.register_forward_pre_hook(project) for projector in self._projectors()),
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()
            torch.set_grad_enabled(before)

    @contextlib.contextmanager
    def record(self) -> Iterator[list[torch.Tensor]]:
        """The features of the images that the model is run on within it, in the order in which they leave the tower and
        its projectors; their shapes are the family's, without gradients."""
        features: list[torch.Tensor] = []
        with self._hook_exits(lambda given: features.append(given.detach())):
            yield features

    @contextlib.contextmanager
    def replay(self, rows: Sequence[Features]) -> Iterator[None]:
        """Within it the model's next run sees these features, whatever its pixels are; the tower's layers do not run.

        Args:
            rows: of each row of the batch, or of all of them together.

        Raises:
            FeatureMismatch: the run asks for features of another number or shape.
        """
        parts = list(zip(*rows, strict=True))
        calls = iter(parts)

        def replace(given: torch.Tensor) -> torch.Tensor:
            return _joined(next(calls, ()), given)

        with contextlib.ExitStack() as stack:
            for layer in self._layers():
                stack.enter_context(forward_of(layer, _unchanged))
            with self._hook_exits(replace):
                yield
        if left := len(list(calls)):
            raise FeatureMismatch(f"{left} of {len(parts)} recorded image features were not asked for.")

    @torch.no_grad()
    def features(self, inputs: dict[str, torch.Tensor]) -> list[torch.Tensor]:
        """What the tower makes of the images of a batch, as `record` has it; the model does not run further.

        Args:
            inputs: as the model takes them.
        """

        def stop(*_: Any) -> None:
            raise _ProjectorReached

        # The projector is the last exit.
        with self.record() as features, contextlib.suppress(_ProjectorReached):
            hook = self._projectors()[-1].register_forward_pre_hook(stop)
            try:
                self._policy.base_model(**inputs, use_cache=False)
            finally:
                hook.remove()
        return features

    @contextlib.contextmanager
    def _hook_exits(self, hook: Callable[[torch.Tensor], torch.Tensor | None]) -> Iterator[None]:
        def on_call(_module: Any, args: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, Any] | None:
            values = [*args, *named.values()]
            floats = [
                n for n, value in enumerate(values) if isinstance(value, torch.Tensor) and value.is_floating_point()
            ]
            if not floats:  # Ovis2's projector is also asked for marks around images, by their numbers
                return None
            index = floats[0]
            replaced = hook(values[index])
            if replaced is None:
                return None
            values[index] = replaced
            return tuple(values[: len(args)]), dict(zip(named, values[len(args) :], strict=True))

        handles = [module.register_forward_pre_hook(on_call, with_kwargs=True) for module in self._exits()]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def _places(model: torch.nn.Module) -> Iterator[tuple[str, str, torch.nn.Module]]:
    """The names of a module's parent and its own, and the module; each module once, in the order of `named_modules`,
    which makes whole paths too: every forward of a training asks."""
    seen, left = set[torch.nn.Module](), [("", "", model)]
    while left:
        parent, name, module = left.pop()
        if module not in seen:
            seen.add(module)
            yield parent, name, module
            left += [(name, own, child) for own, child in reversed(module._modules.items()) if child is not None]


def _is_adapted(modules: Sequence[torch.nn.Module]) -> bool:
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils import ModulesToSaveWrapper

    return any(isinstance(module, BaseTunerLayer | ModulesToSaveWrapper) for module in modules)


def _size(modules: list[torch.nn.Module]) -> int:
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


def _unchanged(hidden_states: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
    """A layer that was left out."""
    return hidden_states


def _joined(parts: Sequence[torch.Tensor], given: torch.Tensor) -> torch.Tensor:
    """The features of several rows as the exit is given them: along the first dimension, or packed along the next."""
    for dimension in range(given.dim() - 1 if parts else 0):
        rest = [(*part.shape[:dimension], *part.shape[dimension + 1 :]) for part in parts]
        if set(rest) == {(*given.shape[:dimension], *given.shape[dimension + 1 :])}:
            joined = torch.cat([part.to(given.device, given.dtype) for part in parts], dimension)
            if joined.shape == given.shape:
                return joined
    raise FeatureMismatch(
        f"Recorded image features of shapes {[tuple(part.shape) for part in parts]} are not those that are "
        f"asked for, {tuple(given.shape)}."
    )
