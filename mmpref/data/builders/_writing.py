"""Methods that let the run's model write whole answers to changed images or prompts."""

from __future__ import annotations

from collections.abc import Sequence

from mmpref.data.builder import Context
from mmpref.data.builders._made import MadeWorker, WrittenSettings
from mmpref.types import Example


class WritingWorker(MadeWorker):
    """A block worker whose subclass says what the model is shown."""

    def __init__(self, context: Context, settings: WrittenSettings) -> None:
        super().__init__(context, settings)
        self.width = settings.batch_size
        self.decoding = settings.decoding(settings.max_answer_tokens, self.seed)

    def shown(self, block: Sequence[Example]) -> list[Example | None]:
        """What the model is asked and shown in each example's place; None where there is no partner."""
        raise NotImplementedError

    def answers(self, block: Sequence[Example]) -> list[str | None]:
        from mmpref.sampling.answers import write
        from mmpref.vlm.vision import encode

        asked = [(example.id, shown) for example, shown in zip(block, self.shown(block), strict=True) if shown]
        contexts = encode(self.policy, [self.policy.prompter(shown) for _, shown in asked]) if asked else []
        names = [name for name, _ in asked]
        written = dict(zip(names, write(self.policy, contexts, names, self.decoding, width=self.width), strict=True))
        return [written.get(example.id) for example in block]

    def begin(self, block: Sequence[Example]) -> None:
        """Nothing: what is shown is made block by block."""
