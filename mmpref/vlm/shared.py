"""The backbone's forward of preference training, with what the answers of a row share run once.

TRL stacks rows as [chosen; rejected]: the image, the prompt and the answers' common beginning go through the model
twice, and twice more for the reference. `SharedForward` takes such a batch and returns the same hidden states in the
same layout. It has two forms, equal but for the order of sums:

* ``prefix``: the common part is a key/value cache, with gradients, that both answers continue
* ``tree``: one sequence [common part | chosen | rejected] under a mask in which answers do not see each other; the form
  for gradient checkpointing, which keeps no cache
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch
from transformers.modeling_outputs import BaseModelOutputWithPast

from mmpref.errors import ModelError
from mmpref.vlm.attention import Attention
from mmpref.vlm.vision import Context, at_the_door

if TYPE_CHECKING:
    from mmpref.vlm.policy import Policy

Form = Literal["prefix", "tree"]
_TOLERANCE = {torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 5e-2}
"""Share of the norm by which sums in another order may differ."""


class SharedForward:
    """Stands in for the forward of a policy's backbone (the model below its output head).

    Args:
        answers: how many answers of each prompt a batch stacks.
    """

    def __init__(self, policy: Policy, form: Form, answers: int = 2) -> None:
        self.form = form
        self._policy, self._answers = policy, answers
        self._attention = Attention(policy)

    @torch.no_grad()
    def refusal(self, batch: Mapping[str, Any]) -> str | None:
        """Why this model's answers cannot share their prompt, or None where they can: a batch both ways decides.

        Args:
            batch: as TRL's collator makes it.
        """
        if not self._policy.family.shares_prefix:
            return f"in {self._policy.family.model_type} models a prompt's hidden states depend on the answer behind it"
        device, dtype = self._policy.device, self._policy.dtype
        inputs = {
            name: value.to(device, dtype if value.is_floating_point() else None)
            for name, value in batch.items()
            if name != "completion_mask"
        }
        backbone, seen = self._policy.base_model.base_model, inputs["attention_mask"].bool()
        expected = backbone(**inputs, use_cache=False).last_hidden_state[seen].float()
        try:
            with self.installed():
                got = backbone(**inputs).last_hidden_state[seen].float()
        except ModelError as error:
            return str(error)
        error_share = float((got - expected).norm() / expected.norm())
        if not error_share <= _TOLERANCE[dtype]:
            return f"shared and separate hidden states differ by {error_share:.1e} of their norm"
        return None

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Within it, calls of the backbone are answered here. Gradients stop at the vision tower, which is frozen."""
        backbone = self._policy.base_model.base_model
        backbone.forward = self
        try:
            with _frozen_tower(self._policy):
                yield
        finally:
            del backbone.forward

    def __call__(
        self, *, input_ids: torch.Tensor, attention_mask: torch.Tensor, use_cache: bool = False, **inputs: Any
    ) -> BaseModelOutputWithPast:
        """Hidden states [answers x B, L, H] of rows padded on the right; those of padding are zero.

        Args:
            input_ids: long [answers x B, L]: all first answers, then all second ones.
            attention_mask: long, of the same shape.
            inputs: images and what describes them, repeated in the same way.
        """
        rows = len(input_ids) // self._answers
        lengths = attention_mask.sum(1).tolist()
        groups = [range(row, len(input_ids), rows) for row in range(rows)]
        common = [_common_beginning([input_ids[one, : lengths[one]] for one in group]) for group in groups]
        contexts = self._contexts(input_ids, attention_mask, inputs, rows, common)
        tails = [input_ids[one, common[one % rows] : length] for one, length in enumerate(lengths)]
        hidden = (self._by_prefix if self.form == "prefix" else self._by_tree)(contexts, tails)
        whole = [
            torch.cat([hidden[0][one % rows], tail, tail.new_zeros(input_ids.shape[1] - length, tail.shape[1])])
            for one, (tail, length) in enumerate(zip(hidden[1], lengths, strict=True))
        ]
        return BaseModelOutputWithPast(last_hidden_state=torch.stack(whole))

    def _contexts(
        self, ids: torch.Tensor, mask: torch.Tensor, inputs: dict[str, Any], rows: int, common: Sequence[int]
    ) -> list[Context]:
        """The common part of every group of answers, at the decoder's door."""
        size = max(common)
        first = {name: value[: len(value) // self._answers] for name, value in inputs.items()
                 if isinstance(value, torch.Tensor)}  # fmt: skip
        first = {name: value[:, :size] if value.shape == (rows, ids.shape[1]) else value
                 for name, value in first.items()}  # fmt: skip
        del self._policy.base_model.base_model.forward  # the backbone itself, up to its decoder
        try:
            seen = at_the_door(
                self._policy, {"input_ids": ids[:rows, :size], "attention_mask": mask[:rows, :size], **first}
            )
        finally:
            self._policy.base_model.base_model.forward = self
        return [_cut(context, length) for context, length in zip(seen, common, strict=True)]

    # -- the two forms: hidden states of common parts, and of tails ---------------------------------------------------

    def _by_prefix(
        self, contexts: Sequence[Context], tails: Sequence[torch.Tensor]
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        rows, size = len(contexts), max(len(context.embeds) for context in contexts)
        hidden, cache = self._attention.prefill(contexts, [()] * rows)
        which = torch.arange(len(tails), device=hidden.device) % rows
        cache.batch_select_indices(which)
        steps = torch.arange(max(map(len, tails)), device=hidden.device)
        ids = torch.nn.utils.rnn.pad_sequence(list(tails), batch_first=True)
        positions = torch.stack([context.positions[:, -1:] + 1 + steps for context in contexts], 1)[:, which]
        keys = torch.arange(size, device=hidden.device)
        order = torch.stack([torch.where(keys < len(context.embeds), keys, -1) for context in contexts])[which]
        behind = torch.tensor([context.end for context in contexts], device=hidden.device)[which, None] + steps
        masks = {}
        for kind, window in self._attention.kinds.items():
            seen = (order >= 0)[:, None, :].expand(-1, len(steps), -1)
            own = (steps[:, None] >= steps).expand(len(which), -1, -1)
            if window is not None:
                seen = seen & (behind[:, :, None] - order[:, None, :] < window)
                own = own & (steps[:, None] - steps < window)
            masks[kind] = torch.cat([seen, own], 2)
        behind_hidden = self._attention.run(self._policy.embed(ids), positions, masks, cache)
        return (
            [row[: len(context.embeds)] for row, context in zip(hidden, contexts, strict=True)],
            [row[: len(tail)] for row, tail in zip(behind_hidden, tails, strict=True)],
        )

    def _by_tree(
        self, contexts: Sequence[Context], tails: Sequence[torch.Tensor]
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        rows = len(contexts)
        trees = [self._tree(context, tails[row::rows]) for row, context in enumerate(contexts)]
        hidden, _ = self._attention.prefill(trees, [()] * rows, use_cache=False)
        parts = []
        for row, context in enumerate(contexts):
            sizes = [len(context.embeds), *map(len, tails[row::rows])]
            parts.append(hidden[row, : sum(sizes)].split(sizes))
        return [part[0] for part in parts], [parts[one % rows][1 + one // rows] for one in range(len(tails))]

    def _tree(self, context: Context, tails: Sequence[torch.Tensor]) -> Context:
        """A context followed by several tails, none of which sees another."""
        device, begin = context.embeds.device, len(context.embeds)
        ids = torch.cat(list(tails))
        steps = torch.cat([torch.arange(len(tail), device=device) for tail in tails])
        branch = torch.cat([torch.full((len(tail),), number, device=device) for number, tail in enumerate(tails)])
        order = torch.cat([context.order, context.end + steps])
        branch = torch.cat([branch.new_full((begin,), -1), branch])
        is_tail = branch >= 0
        plain = torch.ones(len(order), len(order), dtype=torch.bool, device=device).tril()
        plain &= ~is_tail[None, :] | (branch[:, None] == branch[None, :])
        allowed = {}
        for kind, window in self._attention.kinds.items():
            mask = plain if window is None else plain & (order[:, None] - order[None, :] < window)
            given = (context.allowed or {}).get(kind, (context.allowed or {}).get(""))
            if given is not None:
                mask = mask.clone()
                mask[:begin, :begin] = given
            allowed[kind] = mask
        return Context(
            torch.cat([context.embeds, self._policy.embed(ids)]),
            torch.cat([context.positions, context.positions[:, -1:] + 1 + steps], 1),
            torch.cat([context.is_image, torch.zeros_like(ids, dtype=torch.bool)]),
            order,
            context.deepstack,
            allowed,
        )


def _common_beginning(rows: Sequence[torch.Tensor]) -> int:
    """How many tokens all rows begin with; each keeps at least one of its own."""
    longest = min(map(len, rows)) - 1
    same = torch.stack([rows[0][:longest] == row[:longest] for row in rows]).all(0)
    return int(same.long().cumprod(0).sum())


def _cut(context: Context, length: int) -> Context:
    """The first rows of a context, which hold all its images."""
    allowed = {kind: seen[:length, :length] for kind, seen in (context.allowed or {}).items()}
    plain = torch.ones(length, length, dtype=torch.bool, device=context.embeds.device).tril()
    allowed = {kind: seen for kind, seen in allowed.items() if not torch.equal(seen, plain)}
    return Context(context.embeds[:length], context.positions[:, :length], context.is_image[:length],
                   context.order[:length], context.deepstack, allowed or None)  # fmt: skip


@contextlib.contextmanager
def _frozen_tower(policy: Policy) -> Iterator[None]:
    """No graph through the vision tower. Gradient checkpointing asks every embedding for gradients, frozen ones too.

    The projector, which may be trained, lies behind the tower or at its end.
    """
    tower = policy.base_model.get_encoder(modality="image")
    projectors = [module for name, module in policy.base_model.named_modules()
                  if name.rpartition(".")[2] == policy.family.projector]  # fmt: skip
    if tower is policy.base_model or tower is policy.base_model.base_model or not projectors:
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
        tower.register_forward_pre_hook(enter),
        tower.register_forward_hook(leave),
        *(projector.register_forward_pre_hook(project) for projector in projectors),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        torch.set_grad_enabled(before)
