"""The backbone's forward of preference training, with image and prompt run once for all answers of a row.

TRL stacks rows as [chosen; rejected]: image and prompt go through the model twice, and twice more for the reference.
`SharedForward` runs one sequence [prompt | chosen | rejected | ...] instead, under a mask in which answers do not see
each other, and hands TRL the answers' hidden states only, so that the output head sees no prompt either. Which kernel
attends decides `mmpref.vlm.kernels`; gradient checkpointing works, since nothing is cached.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers.modeling_outputs import BaseModelOutputWithPast

from mmpref.errors import ModelError
from mmpref.log import logger
from mmpref.vlm.attention import Attention
from mmpref.vlm.encode import EncodedPrompt, decoder_inputs
from mmpref.vlm.kernels import Place, refuse
from mmpref.vlm.vision_tower import FeatureMismatch, Features, VisionTower, forward_of, own_precision

if TYPE_CHECKING:
    from mmpref.vlm.policy import Policy

Batch = dict[str, Any]

_TOLERANCE = {torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 5e-2}
"""Share of the norm by which sums in another order may differ."""


class _Output(BaseModelOutputWithPast):
    """Hidden states only: whatever else a family's backbone hands on (hidden states of images, say) is None."""

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)


class SharedForward:
    """Stands in for the forward of a policy's backbone (the model below its output head).

    Attributes:
        kernels: those that attended so far, and why each was chosen.

    Raises:
        UsageError: the kernel that the policy names cannot train here.
    """

    def __init__(self, policy: Policy) -> None:
        refuse(policy.attn, Place.of(policy))
        self._policy = policy
        self.kernels: dict[str, str] = {}
        self._attention = Attention(policy)
        self._tower = VisionTower(policy)
        self._batches: Sequence[Batch] = ()
        self._bounds: Sequence[_Bounds] = ()
        self._features: Sequence[Features] = ()
        self._replays = False
        self._forward_before: Any = None
        self._current, self._hidden = 0, dict[tuple[int, int], torch.Tensor]()

    @torch.no_grad()
    def refusal(self, batch: Mapping[str, Any]) -> str | None:
        """Why this model's answers cannot share their prompt, or None where they can: a batch both ways decides.

        Args:
            batch: as TRL's collator makes it.
        """
        if not self._policy.family.shares_prefix:
            return f"in {self._policy.family.model_type} models a prompt's hidden states depend on the answer behind it"
        if not self._policy.causal_prompts:  # also its last token, which stands in front of each answer here
            return "prompts see themselves both ways"
        whole = self._placed(batch)
        inputs = {name: value for name, value in whole.items() if name != "completion_mask"}
        backbone = self._policy.base_model.base_model
        rows = backbone(**inputs, use_cache=False).last_hidden_state
        [(begins, _)] = _bounds([whole])
        try:
            with self.only_tails([whole]) as [cut]:
                backbone()
                shared = backbone().last_hidden_state  # on what the vision tower made the first time
        except ModelError as error:
            return str(error)
        mask = cut["attention_mask"].bool()
        expected = pad_sequence([row[begin:] for row, begin in zip(rows, begins, strict=True)], batch_first=True)
        expected = expected[:, : shared.shape[1]]
        difference = float((shared - expected)[mask].norm() / expected[mask].norm())
        if not difference <= _TOLERANCE[self._policy.dtype]:
            return f"shared and separate hidden states differ by {difference:.1e} of their norm"
        return None

    @property
    def has_features(self) -> bool:
        """Whether `features` can be had: it is known which part of the model is the vision tower."""
        return self._tower.is_supported

    def features(self, batch: Mapping[str, Any]) -> list[torch.Tensor]:
        """What the vision tower makes of the images of a batch, as TRL's collator makes it."""
        whole = self._placed(batch)
        [(begins, _)] = _bounds([whole])
        return self._tower.features(self._prompts(whole, begins))

    @contextlib.contextmanager
    def only_tails(self, batches: Sequence[Batch], features: Sequence[Features] = ()) -> Iterator[list[Batch]]:
        """Within it, calls of the backbone are answered here, for the batch that `use_micro_batch` names whatever they
        say, and gradients stop at the vision tower, which is frozen and runs once.

        Args:
            batches: TRL's, of the same prompts and chosen answers, with different rejected ones: ``input_ids``,
                ``attention_mask`` and ``completion_mask`` [2B, L], padded on the right, all chosen before all rejected
                answers; in the first of them images and what describes them, repeated in the same way.
            features: of the images of each row, where they are known: the tower does not run then.

        Yields:
            What to give TRL in their places: the three, [2B, S], each row from the last token of its prompt on.
        """
        backbone = self._policy.base_model.base_model
        self._batches, self._features = batches, features
        self._bounds = _bounds(batches)  # the one place where a step of training waits for the device here
        self._forward_before = backbone.__dict__.get("forward")
        self._replays = self._tower.is_supported  # nobody changes the model's modules within it
        self.use_micro_batch(0)
        try:
            with forward_of(backbone, self._forward), self._tower.frozen():
                yield [_without_prompt(batch, *bounds) for batch, bounds in zip(batches, self._bounds, strict=True)]
        finally:
            self._batches, self._bounds, self._features, self._hidden = (), (), (), {}

    def use_micro_batch(self, number: int) -> None:
        """Name the batch that the backbone's next calls are for. Each call for the first one runs all answers anew;
        those for the others take theirs from the last run."""
        self._current = number

    def _forward(self, *_: Any, **__: Any) -> BaseModelOutputWithPast:
        """Hidden states [2B, S, H] of the rows that `only_tails` made; zero where there is padding."""
        if self._current == 0:
            self._hidden = self._run()
        rows = len(self._batches[0]["input_ids"]) // 2
        answers = [(answer, row) for answer in (0, self._current + 1) for row in range(rows)]
        return _Output(last_hidden_state=pad_sequence([self._hidden[key] for key in answers], batch_first=True))

    def _run(self) -> dict[tuple[int, int], torch.Tensor]:
        """Hidden states [T, H] of every answer of every row, from the last token of the prompt on."""
        prompts = self._encoded_prompts(self._bounds[0][0])
        return self._run_behind(prompts, self._tails())

    def _run_behind(
        self, prompts: Sequence[EncodedPrompt], tails: Sequence[Sequence[torch.Tensor]]
    ) -> dict[tuple[int, int], torch.Tensor]:
        """Hidden states [T, H] of tails behind each prompt, none of which sees another. Nothing is read from the
        device.

        Args:
            tails: token ids of each row.
        """
        choice = self._attention.choose(prompts, [[len(tail) for tail in of_row] for of_row in tails])
        if self.kernels and choice.kernel not in self.kernels:
            logger.debug("Now answers attend by %s: %s.", *choice)
        self.kernels.setdefault(*choice)
        hidden = self._attention.run_forest(prompts, tails, choice)
        return {(answer, row): part for row, of_row in enumerate(hidden) for answer, part in enumerate(of_row)}

    def _tails(self) -> list[list[torch.Tensor]]:
        """The token ids of every answer of each row, from the last one of its prompt on: the chosen one, and all
        rejected ones."""
        rows = len(self._batches[0]["input_ids"]) // 2
        tails: list[list[torch.Tensor]] = [[] for _ in range(rows)]
        for number, (batch, (begins, ends)) in enumerate(zip(self._batches, self._bounds, strict=True)):
            for place in range(rows if number else 0, 2 * rows):
                tails[place % rows].append(batch["input_ids"][place, begins[place] : ends[place]])
        return tails

    def _encoded_prompts(self, begins: Sequence[int]) -> list[EncodedPrompt]:
        """Every prompt without its last token, as the decoder gets it."""
        inputs = self._prompts(self._batches[0], begins)
        model = self._policy.base_model
        # The model itself, up to its decoder. One that is trained in full is running already.
        with own_precision(model), forward_of(model.base_model, self._forward_before):
            whole = self._decoder_inputs(inputs)
        return [prompt.first(begin) for prompt, begin in zip(whole, begins, strict=False)]

    def _decoder_inputs(self, inputs: Batch) -> list[EncodedPrompt]:
        """The prompts as the decoder gets them; the tower's features of their images stay for the batch's next run."""
        if self._features:
            # Some processors pad images by the batch that they are in; features of single rows do not fit then.
            with contextlib.suppress(FeatureMismatch), self._tower.replay(self._features):
                return decoder_inputs(self._policy, inputs)
        with self._tower.record() as features:
            prompts = decoder_inputs(self._policy, inputs)
        self._features = [features] if self._replays else ()
        return prompts

    def _placed(self, batch: Mapping[str, Any]) -> Batch:
        device, dtype = self._policy.device, self._policy.dtype
        return {
            name: value.to(device, dtype if value.is_floating_point() else None)
            for name, value in batch.items()
            if isinstance(value, torch.Tensor)
        }

    @staticmethod
    def _prompts(batch: Batch, begins: Sequence[int]) -> Batch:
        """The prompts of a batch, once each."""
        ids, rows = batch["input_ids"], len(batch["input_ids"]) // 2
        size = max(begins) + 1
        inputs = {
            name: value[: len(value) // 2]
            for name, value in batch.items()
            if isinstance(value, torch.Tensor) and name != "completion_mask"
        }
        return {
            name: value[:, :size] if value.shape == (rows, ids.shape[1]) else value for name, value in inputs.items()
        }


_Bounds = tuple[list[int], list[int]]
"""Of each row of a batch, where the last token of its prompt stands, which predicts the answer's first; and its end."""


def _bounds(batches: Sequence[Batch]) -> list[_Bounds]:
    """In one reading of the device."""
    found = [
        torch.stack([batch["completion_mask"].long().argmax(1) - 1, batch["attention_mask"].long().sum(1)])
        for batch in batches
    ]
    return [(begins, ends) for begins, ends in torch.stack(found).tolist()]


def _without_prompt(batch: Batch, begins: Sequence[int], ends: Sequence[int]) -> Batch:
    """The texts of a batch, each row from the last token of its prompt on."""
    size = max(end - begin for begin, end in zip(begins, ends, strict=True))
    return {
        name: pad_sequence([row[begin : begin + size] for row, begin in zip(batch[name], begins, strict=True)], True)
        for name in ("input_ids", "attention_mask", "completion_mask")
    }
