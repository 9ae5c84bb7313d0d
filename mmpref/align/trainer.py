"""TRL's `DPOTrainer` with what answers share run once, pairs from a source, and exact resuming."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from trl import DPOTrainer

from mmpref.align.accuracy import ranked_right
from mmpref.align.begun import begin_from
from mmpref.align.checkpoints import write_errors
from mmpref.align.collator import ROWS, SECOND_BATCH, PreferenceCollator, keep_rows
from mmpref.align.copied_reference import CopiedReference, without_weights_of_its_own
from mmpref.align.gradient_accumulation import GradientAccumulationMixin
from mmpref.align.model_passes import ModelPasses, answer_sums, pair_log_probs, pair_tokens, policy_log_probs
from mmpref.align.pair_source import under_other_images
from mmpref.align.preference_data import OTHER_PAIR, ROW
from mmpref.align.rewards import Reward, log_ratio
from mmpref.align.weights import ROW_WEIGHT, TOKEN_WEIGHTS
from mmpref.counts import sum_counts
from mmpref.distributed import gather_object
from mmpref.errors import RunError, UsageError
from mmpref.log import logger
from mmpref.tables.rows import REJECTED_POLICY

if TYPE_CHECKING:
    from mmpref.align.feature_cache import FeatureCache
    from mmpref.align.loss_settings import Terms
    from mmpref.align.pair_log_probs import PairLogProbs, Pairwise
    from mmpref.align.pair_source import PairSource
    from mmpref.align.reference_cache import LogProbs, ReferenceLogProbCache
    from mmpref.vlm.policy import Policy
    from mmpref.vlm.shared_prefix_forward import SharedForward
    from mmpref.vlm.vision_tower import Features

_REFERENCE = "reference.safetensors"
"""Of a checkpoint: the reference, where it moves."""
_SMOOTHED = frozenset({"robust", "exo_pair", "aot", "aot_unpaired"})
"""TRL's losses that read ``label_smoothing``; its others leave it out without a word."""
_MAX_EMPTY_BATCHES = 50
"""Batches in a row that may give no pair."""
_NO_PAIR_HINTS = {
    "comparisons": "See what the annotator replies. Answers differ more with a higher --set loss.temperature=NUMBER, "
    "and are longer with a higher --set loss.max_answer_tokens=NUMBER.",
    "tries": "Answers are longer with a higher --set loss.bdhs.max_tail_tokens=NUMBER and --set "
    "loss.bdhs.max_answer_tokens=NUMBER, and differ more with a higher --set loss.bdhs.temperature=NUMBER.",
    "no_partner": "A row needs another one that asks the same about other images, and has another answer.",
}
"""By what a pair source counts."""


class PreferenceTrainer(GradientAccumulationMixin, DPOTrainer):
    """Losses, batches and metrics are TRL's; the reference is the model with its adapter switched off, unless it moves
    or training goes on from an adapter; without an adapter (no ``peft_config``), a copy of the weights that are
    trained. The projector has a learning rate of its own.

    Args:
        policy: the one around the model that is trained, for whoever lets it write.
        data_collator: makes a batch of rows that are pairs.
        projector_learning_rate: for the parameters in PEFT's ``modules_to_save``; the schedule is the common one.
        shared: runs image and prompt once for both answers; None for TRL's own forward.
        features: a cache of what the vision tower makes of rows' images, for `shared`; None runs it at every step.
        reference: a cache of the reference's log-probabilities; None asks it at every step.
        reference_every: steps after which the reference becomes the policy; None leaves it as it is.
        begin: the adapter that training goes on from, a folder or Hub id with its commit: its weights are those of the
            policy as it begins, and that is the reference. None begins with a new adapter, which changes nothing.
        weights: of the losses against the rejected answer, and against the second one where rows have two.
        terms: more of the loss, of rows that have a pair under other images.
        pairwise: a loss of pairs' log-probabilities, beside TRL's.
        reward: what the loss holds an answer to be worth, for the log; None for DPO's.
        by_token: `pairwise` is given them by token too.
        distributions: and the divergence from the reference at each.
        other_images: rows have a pair under other images.
        mismatched: rows have an answer to another row in the place of a second rejected one, for `pairwise`.
        source: makes the pairs of a step from the rows of the data; None where they are the rows.
    """

    def __init__(
        self,
        *args: Any,
        policy: Policy | None = None,
        data_collator: PreferenceCollator,
        projector_learning_rate: float,
        shared: SharedForward | None = None,
        features: FeatureCache | None = None,
        reference: ReferenceLogProbCache | None = None,
        reference_every: int | None = None,
        begin: tuple[str, str | None] | None = None,
        weights: Sequence[float] = (1.0,),
        terms: Terms | None = None,
        pairwise: Pairwise | None = None,
        reward: Reward | None = None,
        mismatched: bool = False,
        by_token: bool = False,
        distributions: bool = False,
        other_images: bool = False,
        source: PairSource | None = None,
        **kwargs: Any,
    ) -> None:
        self.collate = data_collator
        if kwargs.get("peft_config") is None:
            kwargs["ref_model"] = without_weights_of_its_own(kwargs["model"])
        super().__init__(*args, data_collator=keep_rows if source else data_collator, **kwargs)
        self.set_up(policy, projector_learning_rate)
        self._source = source
        self.shared, self._features, self._reference = shared, features, reference
        self._weights, self._terms, self._pairwise = tuple(weights), terms, pairwise
        self._mismatched, self._other_images = mismatched, other_images
        self._by_token, self._reward = by_token, reward or log_ratio(self.beta)
        self._passes = ModelPasses(self.accelerator.unwrap_model(self.model), policy if distributions else None)
        if begin:
            self.began, self.begins_as = begin, "the first adapter"
            begin_from(self.model, *begin)
        self._copied: CopiedReference | None = None
        if begin or reference_every or self.in_full:
            self.ref_model = None  # TRL's, whose place this takes
            self._copied = CopiedReference(dict(self._trainable_parameters()), reference_every)
            self.add_callback(self._copied)
        self._refuse_options_of_trls_losses(bool(pairwise or reference_every))
        if shared and self.aux_loss_enabled:
            logger.warning(
                "Image and prompt go through the model once for each answer: experts are balanced over all "
                "tokens of a step (trainer.router_aux_loss_coef: 0 turns that off)."
            )
            self.shared = None
        # TRL refuses to fill a column of them beforehand where there are images; it takes them from a batch.
        self.precompute_ref_logps = True

    def _refuse_options_of_trls_losses(self, own: bool) -> None:
        """Refuse what only TRL's own losses and reference know of, or only some of them, and would be left out.

        Args:
            own: the loss or the reference is not TRL's.

        Raises:
            UsageError: there is such an option.
        """
        options = {
            "label_smoothing": self.label_smoothing and _SMOOTHED.isdisjoint(self.loss_types),
            "use_weighting": own and self.use_weighting,
            "ld_alpha": own and self.ld_alpha is not None,
            "f_divergence_type": own and self.f_divergence_type != "reverse_kl",
        }
        if given := [f"trainer.{name}" for name, is_given in options.items() if is_given]:
            raise UsageError(f"This method's loss has no {', '.join(given)}.", "Leave it out, or use another method.")

    def facts(self) -> dict[str, Any]:
        """Also what the logged rewards are, and after how many steps the reference moves, where it does."""
        moves = {"reference_every": self._moving.every} if self._moving else {}
        return {**super().facts(), "logged_reward": self._reward.text, **moves}

    @property
    def _moving(self) -> CopiedReference | None:
        """The reference where it moves: one that does not is made anew of the adapter that training began with."""
        return self._copied if self._copied and self._copied.every else None

    def sample_pairs(self, batches: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return self._sample(self._source, [batch[ROWS] for batch in batches]) if self._source else batches

    def placeholder_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
        return self._collate_data_rows(batch[ROWS][:1])

    def _collate_data_rows(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """A batch of rows as the data has them; its gradients are nobody's."""
        defaults = {REJECTED_POLICY: "rejected"} if self._rejected_answers > 1 else {}
        filled = [{**{name: row[other] for name, other in defaults.items()}, **row} for row in rows]
        if self._other_images:
            filled = [{OTHER_PAIR: under_other_images(row, row["images"]), **row} for row in filled]
        return self.collate(filled)

    def try_step(self, rows: Sequence[dict[str, Any]]) -> str | None:
        """As the mixin says; the rows without their numbers, by which the reference would keep what it says of them."""
        if self.is_deepspeed_enabled:
            return "DeepSpeed takes a step with every backward pass"
        model = self.model_wrapped
        devices = [self.args.device] if self.args.device.type == "cuda" else []
        with torch.random.fork_rng(devices), self.without_logging(), self.maybe_activation_offload_context:
            model.train()
            with self.compute_loss_context_manager():
                loss = self.compute_loss(model, self._prepare_inputs(self._collate_data_rows(rows)))
            self.accelerator.backward(loss)
        model.zero_grad()
        return None

    def _sample(self, source: PairSource, batches: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
        """This process's pairs of the rows of a step's micro-batches, collated; an empty batch where there is none."""
        with self.sampling():
            sampled = [source(rows, self.state.global_step) for rows in batches]
        for of_processes in zip(*gather_object([(len(pairs.rows), pairs.counts) for pairs in sampled]), strict=True):
            self._count(any(size for size, _ in of_processes), sum_counts(counts for _, counts in of_processes))
        if self.state.global_step + 1 >= self.state.max_steps and self.sample_counts.get("used") == 0:
            raise _no_pair("No step gave a pair", self.sample_counts)
        return [self.collate([dict(row) for row in pairs.rows]) if pairs.rows else {} for pairs in sampled]

    def _count(self, has_pairs: bool, counts: Mapping[str, float]) -> None:
        """Add what became of the rows of a batch in all processes."""
        self.sample_counts = sum_counts([self.sample_counts, counts])
        for name, value in counts.items():
            self._metrics["train"][f"pairs/{name}"].append(value)
        self._empty_batches = 0 if has_pairs else self._empty_batches + 1
        if self._empty_batches >= _MAX_EMPTY_BATCHES:
            raise _no_pair(f"The last {_MAX_EMPTY_BATCHES} batches gave no pair; the last one", counts)

    def _compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool) -> Any:
        """TRL's loss of the batch, or the weighted sum of those of the batch and the second one."""
        rows, second, other = inputs.pop(ROW, None), inputs.pop(SECOND_BATCH, None), inputs.pop(OTHER_PAIR, None)
        row_weights, token_weights = inputs.pop(ROW_WEIGHT, None), inputs.pop(TOKEN_WEIGHTS, None)
        batches = [inputs, second] if second else [inputs]
        if len(batches) != self._rejected_answers:
            raise RunError(f"The loss is over {self._rejected_answers} rejected answers, and rows have {len(batches)}.")
        tokens = sum(batch["attention_mask"].sum() for batch in batches)
        losses: list[torch.Tensor] = []
        made: list[PairLogProbs] = []
        with self._shared_inputs(batches, rows) as trl_batches, self._passes.recorded() as passes:
            references = self._reference_log_probs(rows, trl_batches)
            reference_passes = list(passes)
            for number, weight in enumerate(self._weights):
                batch = trl_batches[number]
                self._select_batch(number)
                passes.clear()
                reference = references[number]
                with self.weighting_by_tokens():
                    loss = super()._compute_loss(model, {**batch, **reference}, return_outputs=False)
                losses.append(weight * loss)
                log_probs = answer_sums(passes[0].log_probs, batch, self.ld_alpha)
                pairs = replace(pair_log_probs(log_probs, reference, batch), weights=row_weights)
                if number == 0 and self._by_token:
                    by_token = pair_tokens(passes[0], reference_passes[0], batch, token_weights)
                    pairs = replace(pairs, tokens=by_token)
                made.append(pairs)
                self._log_pairs(pairs)
            mismatched = self._mismatched_ratio(model, trl_batches, references)
            if self.model.training:  # TRL counts the tokens of what it was given
                counted = sum(batch["attention_mask"].sum() for batch in trl_batches[: len(self._weights)])
                self._total_train_tokens += self.accelerator.gather_for_metrics(tokens - counted).sum().item()
                self._metrics["train"]["num_tokens"] = [self._total_train_tokens]
        others = self._other_pairs(model, other) if other else None
        if self._pairwise:
            second_pairs = made[1] if len(made) > 1 else None
            given = replace(made[0], mismatched=mismatched, second=second_pairs, other=others)
            losses.append(self._pairwise(given).mean())
        if self._terms and others:
            for name, term in self._terms(made[0].chosen_ratio, others.chosen_ratio).items():
                losses.append(term)
                self._log_mean(f"loss/{name}", term)
        # TRL's loss of no losses is a plain 0.
        loss = torch.stack([one for one in losses if isinstance(one, torch.Tensor)]).sum() * self.pair_weight
        return (loss, None) if return_outputs else loss

    @torch.no_grad()
    def _log_pairs(self, pairs: PairLogProbs) -> None:
        """Rewards in the place of TRL's, which are DPO's whatever the loss; lengths of answers in tokens, their end
        included; log-ratios to the reference, and the divergence from it on them.

        The latter is the estimator k3 (http://joschu.net/blog/kl-approx.html) of an answer's mean log-ratio a token,
        exp(-d) - 1 + d: at most the mean of k3 over its tokens, and never negative. The expectation is over these
        answers, which the policy wrote only where a method samples them.
        """
        chosen, rejected = self._reward.of(pairs)
        right = ranked_right(chosen, rejected)
        rewards = {"chosen": chosen, "rejected": rejected, "margins": chosen - rejected, "accuracies": right}
        theirs = self._metrics["train" if self.model.training else "eval"]
        for name, values in rewards.items():
            theirs[f"rewards/{name}"].pop()
            self._log_mean(f"rewards/{name}", values)
        for name, length, ratio in (
            ("chosen", pairs.chosen_tokens, pairs.chosen_ratio),
            ("rejected", pairs.rejected_tokens, pairs.rejected_ratio),
        ):
            self._log_mean(f"lengths/{name}", length)
            self._log_mean(f"logratios/{name}", ratio)
            if self.ld_alpha is None:  # else these are weighted sums
                mean = ratio.float() / length
                self._log_mean(f"kl/{name}", torch.expm1(-mean) + mean)

    def _log_mean(self, name: str, values: torch.Tensor) -> None:
        """Log the mean of some values over all processes."""
        self._metrics["train"][name].append(self.accelerator.gather(values.detach().float()).mean().item())

    @contextlib.contextmanager
    def _shared_inputs(
        self, batches: list[dict[str, Any]], rows: torch.Tensor | None = None
    ) -> Iterator[list[dict[str, Any]]]:
        """What TRL is given of the batches: their answers where the prompt is shared, else all.

        Args:
            rows: whose images they have, as they are in the data.
        """
        if self.shared is None:
            yield batches
        else:
            features: Sequence[Features] = ()
            if self._features and rows is not None:
                features = self._features.get(rows.tolist(), self._image_features)
            with self.shared.only_tails(batches, features) as completions:
                yield completions

    def _image_features(self, row: int) -> Features:
        """What the vision tower makes of a row's images."""
        assert self.shared is not None
        pair = {name: value for name, value in self.train_dataset[row].items() if name not in (ROW, REJECTED_POLICY)}
        return self.shared.features(self.collate([pair]))

    @torch.no_grad()
    def compute_ref_log_probs(self, model: Any, inputs: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        """As TRL's: summed log-probabilities [B] of a batch's chosen and rejected answers under the reference."""
        with self._as_reference():
            chosen, rejected = super().compute_ref_log_probs(model, inputs)
            return chosen, rejected

    @contextlib.contextmanager
    def _as_reference(self) -> Iterator[None]:
        """Within it TRL's passes for the reference are of the weights that are its own."""
        if self._copied is None:  # TRL switches the adapter off
            yield
        elif self.in_full:
            with self._copied.in_place():
                yield
        else:
            self.model.eval()
            self.ref_model = self.model  # else TRL would switch the adapter off
            try:
                with self._copied.in_place():
                    yield
            finally:
                self.ref_model = None
                self.model.train()

    def save_state(self, checkpoint: Path) -> None:
        if self._moving:
            with write_errors(str(checkpoint)):
                self._moving.save(checkpoint / _REFERENCE)

    def restore_pending_sums(self, checkpoint: Path) -> None:
        super().restore_pending_sums(checkpoint)
        if self._moving:
            self._moving.load(checkpoint / _REFERENCE)

    @property
    def _rejected_answers(self) -> int:
        """How many a row has; an answer to another row is one."""
        return len(self._weights) + self._mismatched

    def _other_pairs(self, model: Any, batch: dict[str, Any]) -> PairLogProbs:
        """What policy and reference say of rows' pairs under other images."""
        with self._shared_inputs([batch]) as [trl_batch], self._passes.recorded() as passes:
            [reference] = self._reference_log_probs(None, [trl_batch])
            self._select_batch(0)
            pairs = pair_log_probs(torch.cat(policy_log_probs(model, trl_batch)), reference, trl_batch)
            tokens = pair_tokens(passes[1], passes[0], trl_batch) if self._by_token else None
            return replace(pairs, tokens=tokens)

    @torch.no_grad()
    def _mismatched_ratio(
        self, model: Any, batches: Sequence[dict[str, Any]], references: Sequence[dict[str, torch.Tensor]]
    ) -> torch.Tensor | None:
        """Mean log-ratio [] of policy to reference of answers to other rows, in all processes; None without them."""
        if not self._mismatched:
            return None
        self._select_batch(1)
        ratios = policy_log_probs(model, batches[1])[1] - references[1]["ref_rejected_logps"]
        mean = self.accelerator.gather(ratios.float()).mean()
        self._metrics["train"]["logratios/mismatched"].append(mean.item())
        return mean

    def _select_batch(self, number: int) -> None:
        if self.shared is not None:
            self.shared.use_micro_batch(number)

    def _reference_log_probs(
        self, rows: torch.Tensor | None, batches: list[dict[str, Any]]
    ) -> list[dict[str, torch.Tensor]]:
        """What the reference says of each batch; nothing where TRL is to ask it."""

        def compute() -> LogProbs:
            log_probs = []
            for number, batch in enumerate(batches):
                self._select_batch(number)
                log_probs.append(self.compute_ref_log_probs(self.model, batch))
            return log_probs

        known = compute() if rows is None or self._reference is None else self._reference.get(rows, compute)
        return [{"ref_chosen_logps": chosen, "ref_rejected_logps": rejected} for chosen, rejected in known]


def _no_pair(what: str, counts: Mapping[str, float]) -> RunError:
    hint = next((hint for name, hint in _NO_PAIR_HINTS.items() if name in counts), "")
    return RunError(f"{what}: {_format_counts(counts)}.", hint)


def _format_counts(counts: Mapping[str, float]) -> str:
    return ", ".join(f"{value:g} {name}" for name, value in counts.items() if value)
