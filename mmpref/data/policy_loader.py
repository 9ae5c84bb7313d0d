"""The model of a run, as it was when the run began."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mmpref.log import logger
from mmpref.run.directory import Run
from mmpref.run.manifest import versions
from mmpref.types import ModelRef

if TYPE_CHECKING:
    from mmpref.vlm.policy import Policy


class PolicyLoader:
    """Loads the model on the first call, at the revision and with the number of threads that the run began with: both
    decide its bytes. `close` gives torch the number of threads back that it had.

    Args:
        ref: which model; None for a method that uses none, and never calls.
        options: of `mmpref.vlm.load.load_policy`.

    Attributes:
        pool_tokens: as `mmpref.vlm.policy.Policy` has it.
    """

    def __init__(self, run: Run, ref: ModelRef | None, **options: Any) -> None:
        self._run, self._ref, self._options = run, ref or ModelRef(""), options
        self._threads: int | None = None
        self.loaded: Policy | None = None
        self.pool_tokens: int | None = None

    def __call__(self) -> Policy:
        self.loaded = self.loaded or self._load()
        self.loaded.pool_tokens = self.pool_tokens
        return self.loaded

    def close(self) -> None:
        if self.loaded:
            self.loaded.pool_tokens = None  # it may be the caller's
        if self._threads is not None:
            import torch

            torch.set_num_threads(self._threads)

    def _load(self) -> Policy:
        import torch

        from mmpref.origins.revisions import adapter_facts
        from mmpref.vlm.decoding import generation_config_values
        from mmpref.vlm.load import load_policy
        from mmpref.vlm.made_with import model_facts, refuse_other_adapter, refuse_other_model

        pinned = self._run.pinned("model")
        self._threads = self._threads or torch.get_num_threads()
        torch.set_num_threads(pinned.get("threads") or self._threads)
        ref = ModelRef(
            self._ref.model,
            pinned.get("revision") or self._ref.revision,
            self._ref.adapter,
            pinned.get("adapter_revision") or self._ref.adapter_revision,
        )
        policy = load_policy(ref, **self._options)
        known_by = model_facts(ref.model)
        refuse_other_model(self._run.path, ref.model, pinned, known_by)
        pinned_versions = pinned.get("versions") or versions()
        for name, now in versions().items():
            if pinned_versions.get(name) != now:
                logger.warning(
                    "This run began with %s %s and goes on with %s: its bytes may differ from an uninterrupted run's.",
                    name,
                    pinned_versions.get(name),
                    now,
                )
        adapter: dict[str, Any] = {}
        if ref.adapter:
            commit = policy.ref.adapter_revision
            adapter = {"adapter_revision": commit, "adapter": adapter_facts(ref.adapter, commit)}
            refuse_other_adapter(self._run.path, pinned.get("adapter") or {}, adapter["adapter"])
        facts = {
            "revision": policy.ref.revision,
            **known_by,
            **adapter,
            "threads": torch.get_num_threads(),
            "versions": pinned_versions,
            "family": policy.family.model_type,
            "probe": policy.verification,
            "mended": policy.mended,
            "generation": generation_config_values(policy.base_model.generation_config),
        }
        self._run.pin("model", facts)
        return policy
