"""Bias-Driven Hallucination Sampling: rejected answers out of the model's own language bias (arXiv 2407.02477).

Its algorithm 1: every sentence of the reference answer is cut at a random token; the model, with (nearly) all image
tokens hidden, writes a new tail. Sentences are independent of each other, because what stands before one is always the
reference's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from mmpref.log import logger
from mmpref.rng import stream
from mmpref.run.build_report import shows_next_to_nothing
from mmpref.sampling.answers import answer_of
from mmpref.sampling.sentences import Sentence, sentences
from mmpref.sampling.settings import BdhsSettings, rows_of
from mmpref.sampling.similarity import Similarity
from mmpref.sampling.tails import Cut, TailDecoder, TailStop, TokenizedAnswer, is_cut_off, joined
from mmpref.types import Example
from mmpref.vlm.branches import Branch
from mmpref.vlm.detokenize import Detokenizer
from mmpref.vlm.encode import EncodedPrompt, encode
from mmpref.vlm.generate import decoding_pool
from mmpref.vlm.preprocess import Inputs

if TYPE_CHECKING:
    from mmpref.vlm.policy import Policy

_YES_NO = re.compile(r"(\s*)(Yes|yes|No|no)\b(?![-/]|\.\s*\d)")  # not "No-one", "Yes/No" or "No. 7"
_EMBEDDED_TOGETHER = 8
_PREPARED_BYTES = 16_000_000
"""Preprocessed images that are held before they are encoded."""
_COUNTERPART = {"Yes": "No", "No": "Yes", "yes": "no", "no": "yes"}


@dataclass(frozen=True)
class Rejected:
    """What BDHS made of one example.

    Args:
        similarity: its cosine with the reference.
        iterations: the tries that it took, from 1.
        cut_off: whether a bound on length cut it off: of a tail, or of an unguided answer.
        cut_tries: how many of the tries were.
        image_tokens: that its prompt has; 0 where none is hidden (the noise variant).
        rho_th: the threshold that this comes to there.
    """

    answer: str
    similarity: float
    iterations: int
    cut_off: bool = False
    cut_tries: int = 0
    image_tokens: int = 0
    rho_th: float = 0.0


@dataclass
class _Job:
    """One example on its way to a rejected answer.

    Args:
        answer: the reference answer in the prompt format.
        embedding: of the reference answer.
        prompt: the clean prompt, encoded, with the image tokens that any try shows; None for the noise
            variant, which sees another image each try.
        shown: bool [tries, those], which of them each try shows.
        inputs: the prompt and its images, preprocessed; for the noise variant.
        attempt: the try in work, from 1.
        cuts: of the sentences in this try; none in an unguided one.
        tails: tokens by sentence (or of the whole answer) as they come in.
        pending: branches that have not ended.
        cut_tries: tries so far that a bound on length cut off.
        image_tokens, rho_th: as `Rejected` has them.
    """

    example: Example
    sentences: list[Sentence]
    answer: TokenizedAnswer
    embedding: np.ndarray
    prompt: EncodedPrompt | None = None
    shown: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), dtype=bool))
    inputs: Inputs = field(default_factory=dict)
    attempt: int = 0
    cuts: list[Cut] = field(default_factory=list)
    tails: list[list[int]] = field(default_factory=list)
    pending: int = 0
    cut_tries: int = 0
    image_tokens: int = 0
    rho_th: float = 0.0


class BdhsSampler:
    """Draws rejected answers from a policy; the same object serves datasets and training.

    A result depends on (seed, example id, try, sentence) and on the examples that it is drawn together with only
    through the last bits of floating-point sums.

    Args:
        prepare: renders and preprocesses an example, by default the policy's own way, here and now.
        advice: what to do where less than one image token stays visible.
    """

    def __init__(
        self,
        policy: Policy,
        similarity: Similarity,
        settings: BdhsSettings,
        seed: int,
        prepare: Callable[[Example], Inputs] | None = None,
        advice: str = "",
    ) -> None:
        self.policy = policy
        self.prepare = prepare or policy.prompter
        self.similarity = similarity
        self.settings = settings
        self.seed = seed
        self._advice = advice
        self._said = False
        self._decode_tail, self._detokenize = TailDecoder(policy.tokenizer), Detokenizer(policy)

    def __call__(self, examples: Sequence[Example]) -> list[Rejected]:
        """One rejected answer for each example, whose answers must not be empty. A rejected answer is empty only where
        no try wrote anything.

        Guided tries of all examples share one pool: whose try is not taken goes on with the next one. Unguided answers
        are longer and see what a guided one does not need to, so they have a pool of their own afterwards.
        """
        s = self.settings
        results: dict[int, Rejected] = {}
        jobs = self._jobs(examples)
        guided = 0 if not s.guidance else max(1, s.iterations - 1)
        left = self._run(list(range(len(jobs))), jobs, range(1, guided + 1), True, results)
        self._run(left, jobs, range(guided + 1, s.iterations + 1), False, results)
        return [results[index] for index in range(len(jobs))]

    def resolves(self, made: Rejected) -> bool:
        """Whether a try is taken that is not the last one."""
        usable = bool(made.answer) and (self.settings.keep_cut_off or not made.cut_off)
        return usable and made.similarity < self.settings.similarity_threshold

    def _jobs(self, examples: Sequence[Example]) -> list[_Job]:
        references = self.similarity.embed([example.answer for example in examples])
        jobs = [
            _Job(example, sentences(example.answer), self._tokenize_answer(example, example.answer), reference)
            for example, reference in zip(examples, references, strict=True)
        ]
        waiting: list[_Job] = []
        size = 0
        for job in jobs:
            job.inputs = self.prepare(job.example)
            waiting.append(job)
            size += sum(value.nbytes for value in job.inputs.values())
            if self.settings.noise_steps is None and (size > _PREPARED_BYTES or job is jobs[-1]):
                encode(self.policy, [job.inputs for job in waiting], keep=partial(self._keep_shown, waiting))
                waiting, size = [], 0
        return jobs

    def _keep_shown(self, jobs: Sequence[_Job], number: int, prompt: EncodedPrompt) -> EncodedPrompt:
        """Keep of a prompt what some try will show, out of thousands of image tokens: every try's draw is known."""
        job, s = jobs[number], self.settings
        job.image_tokens, job.rho_th = prompt.image_tokens, s.rho(prompt.image_tokens)
        self._say_what_is_seen(job)
        draws = np.stack([self.draws(job, attempt) >= job.rho_th for attempt in range(1, s.iterations + 1)])
        ever = draws.any(axis=0)
        job.prompt, job.shown, job.inputs = prompt.drop(torch.from_numpy(ever), "original"), draws[:, ever], {}
        return job.prompt

    def draws(self, job: _Job, attempt: int) -> np.ndarray:
        """u of each image token in a try, float [tokens]."""
        return stream(self.seed, job.example.id, attempt, "mask").random(job.image_tokens)

    def _say_what_is_seen(self, job: _Job) -> None:
        """Once, of the first prompt with an image: rho in the unit that matters."""
        if self._said or not job.image_tokens:
            return
        self._said, visible = True, (1 - job.rho_th) * job.image_tokens
        logger.info(
            "rho_th %.4g: of the %d image tokens of the first row, %.4g stay visible in the mean.",
            job.rho_th,
            job.image_tokens,
            visible,
        )
        if shows_next_to_nothing(self.settings.rho_th, visible):
            logger.warning(
                "Warning: less than one stays visible: %.0f %% of the tries see nothing of the image. %s",
                100 * job.rho_th**job.image_tokens,
                self._advice,
            )

    def _run(
        self, indices: Sequence[int], jobs: Sequence[_Job], tries: range, guided: bool, results: dict[int, Rejected]
    ) -> list[int]:
        """Work through tries of the jobs; those that no try of these resolved."""
        if not tries:
            return list(indices)
        s = self.settings
        limit = s.max_tail_tokens if guided else s.max_answer_tokens
        pool = decoding_pool(self.policy, s.decoding(limit, self.seed), rows_of(s.batch_size))
        owners: dict[int, tuple[int, int]] = {}

        def begin(index: int, attempt: int) -> None:
            branches = self._branches(jobs[index], attempt, guided)
            owners.update((number, (index, part)) for part, number in enumerate(pool.add(branches)))

        for index in indices:
            begin(index, tries[0])
        complete: list[int] = []
        unresolved: list[int] = []
        for number, tokens in pool:
            index, part = owners.pop(number)
            job = jobs[index]
            job.tails[part] = tokens
            job.pending -= 1
            if not job.pending:
                complete.append(index)
            if not complete or not (pool.finished or (pool.has_free_rows and len(complete) >= _EMBEDDED_TOGETHER)):
                continue
            answers = [self._answer(jobs[index]) for index in complete]
            vectors = self.similarity.embed([answer for answer, _ in answers])
            for index, (answer, cut_off), vector in zip(complete, answers, vectors, strict=True):
                job = jobs[index]
                job.cut_tries += cut_off
                cosine = float(vector @ job.embedding)
                made = Rejected(answer, cosine, job.attempt, cut_off, job.cut_tries, job.image_tokens, job.rho_th)
                if job.attempt == s.iterations or self.resolves(made):
                    results[index] = made
                elif job.attempt < tries[-1]:
                    begin(index, job.attempt + 1)
                else:
                    unresolved.append(index)
            complete.clear()
        return sorted(unresolved)

    def _branches(self, job: _Job, attempt: int, guided: bool) -> list[Branch]:
        """What a try decodes: a tail for each sentence, or a whole answer."""
        prompt, name = self._shown_prompt(job, attempt), job.example.id
        job.attempt = attempt
        job.cuts = [self._cut(job, number) for number in range(len(job.sentences))] if guided else []
        branches = [
            Branch(prompt, cut.prefix, (name, attempt, number), TailStop(self._decode_tail, cut))
            for number, cut in enumerate(job.cuts)
        ] or [Branch(prompt, (), (name, attempt, "answer"))]
        job.pending = len(branches)
        job.tails = [[] for _ in branches]
        return branches

    def _answer(self, job: _Job) -> tuple[str, bool]:
        """The answer that a try has written, and whether a bound on length cut it off."""
        s = self.settings
        if not job.cuts:
            whole = answer_of(self._detokenize, job.tails[0], s.max_answer_tokens)
            return whole.text, whole.cut
        answer, cut_off = "", False
        for sentence, cut, tail in zip(job.sentences, job.cuts, job.tails, strict=True):
            written = self._decode_tail(cut, tail)
            cut_off |= is_cut_off(written, len(tail), s.max_tail_tokens)
            answer += joined(written, cut, sentence)
        # Where the model ends the answer at a cut before a sentence, that sentence is gone, and the space before it.
        return answer if job.example.answer[-1:].isspace() else answer.rstrip(), cut_off

    def _shown_prompt(self, job: _Job, attempt: int) -> EncodedPrompt:
        """What the model gets to see of the image in this try: few of its tokens, or all of a noisy one."""
        name = job.example.id
        if job.prompt is None:
            noise = self.settings.noise_steps or 0, [stream(self.seed, name, attempt, "noise")]
            return encode(self.policy, [job.inputs], noise)[0]
        return job.prompt.drop(torch.from_numpy(job.shown[attempt - 1]), self.settings.positions)

    def _tokenize_answer(self, example: Example, answer: str) -> TokenizedAnswer:
        return TokenizedAnswer(*self.policy.written_answer(example.prompt, len(example.images), answer))

    def _cut(self, job: _Job, number: int) -> Cut:
        """Swap a leading yes or no with probability 1/2, then cut at a uniformly random token of the sentence.

        A swapped word is never cut off again: the cut then falls behind it.
        """
        draws = stream(self.seed, job.example.id, job.attempt, number, "cut")
        before = "".join(sentence.body + sentence.trailing for sentence in job.sentences[:number])
        body, answer, fixed = job.sentences[number].body, job.answer, 0
        swap = draws.random() >= 0.5
        if (match := _YES_NO.match(body)) and swap:
            word = match[1] + _COUNTERPART[match[2]]
            behind = job.example.answer[len(before) + match.end() :]
            body, fixed = word + body[match.end() :], len(word)
            answer = self._tokenize_answer(job.example, before + word + behind)
        begin = answer.begin + len(before)
        places = answer.cut_places(begin + fixed, begin + len(body))
        if places:
            return answer.cut(places[int(draws.integers(len(places)))], begin)
        # A swapped word that shares its token with all that follows it in the sentence is written without that.
        text, prompter = answer.text[: begin + fixed], self.policy.prompter
        tokens = prompter.tokenize(prompter.render(job.example.prompt, len(job.example.images)), text)
        return TokenizedAnswer(text, answer.begin, *tokens).cut(len(tokens.ids), begin)
