"""Methods that let the run's model write whole answers to changed images or prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mmpref.data.builder import Context
from mmpref.data.builders._generated import MadeWorker, WrittenSettings
from mmpref.data.stats import CUT_OFF
from mmpref.types import Example, Skip

if TYPE_CHECKING:
    from mmpref.vlm.encode import EncodedPrompt as Prompt


class WritingWorker(MadeWorker):
    """A block worker whose subclass says what the model is shown."""

    def __init__(self, context: Context, settings: WrittenSettings) -> None:
        super().__init__(context, settings)
        self.width, self.keep_cut_off = settings.batch_size, settings.keep_cut_off
        self.decoding = settings.decoding(settings.max_answer_tokens, self.seed)

    def shown(self, block: Sequence[Example]) -> list[Example | None]:
        """What the model is asked and shown in each example's place; None where there is no partner."""
        raise NotImplementedError

    def answers(self, block: Sequence[Example]) -> Sequence[str | Skip | None]:
        from mmpref.vlm.encode import encode

        asked = [(example.id, shown) for example, shown in zip(block, self.shown(block), strict=True) if shown]
        contexts = encode(self.policy, [self.policy.prompter(shown) for _, shown in asked]) if asked else []
        names = [name for name, _ in asked]
        written = dict(zip(names, self.write(contexts, names), strict=True))
        return [written.get(example.id) for example in block]

    def write(self, contexts: Sequence[Prompt], names: Sequence[str]) -> list[str | Skip]:
        """An answer to each prompt, at the decoder's door; a skip in place of one that the bound on its length cut off.

        Args:
            names: the examples' ids.
        """
        from mmpref.sampling.answers import write

        answers = write(self.policy, contexts, names, self.decoding, width=self.width)
        return [
            Skip(name, CUT_OFF) if answer.cut and not self.keep_cut_off else answer.text
            for name, answer in zip(names, answers, strict=True)
        ]

    def begin(self, block: Sequence[Example]) -> None:
        """Nothing: what is shown is made block by block."""
