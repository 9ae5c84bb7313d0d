"""An annotator rewrites the chosen answer with realistic hallucinations (arXiv 2407.02477, appendix C.1, table 13).

The annotator is the language model: an endpoint, a local model, or on the testbed its rule-based stand-in. As in the
paper it sees question and answer, and the image only with ``show_images``. Reasons for a skip: ``failed-rewrite`` (the
request failed) and ``refused``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mmpref.counts import Counts
from mmpref.data.builder import Builder, Context, Worker
from mmpref.data.builders._annotated import AnnotatorSettings, chat_settings, not_rewritten
from mmpref.data.builders._generated import SimilaritySettings
from mmpref.judges.annotator import require_placeholders
from mmpref.types import Example, Pair, Skip


@dataclass(frozen=True)
class Settings(SimilaritySettings, AnnotatorSettings):
    """Settings of corruption; an instruction needs ``{prompt}`` and ``{answer}``, and its reply is the new answer only.

    Args:
        show_images: to the annotator too.
    """

    show_images: bool = False

    def __post_init__(self) -> None:
        AnnotatorSettings.__post_init__(self)
        require_placeholders(self.instruction, "prompt", "answer")


class _Worker(Worker):
    def __init__(self, context: Context, settings: Settings) -> None:
        from mmpref.judges.rewriter import open_rewriter
        from mmpref.sampling.similarity import load_similarity

        assert context.annotator is not None
        self.seed, self.counts = context.seed, Counts()
        self.rewriter = open_rewriter(
            context.annotator,
            chat_settings(context, settings, 1024),
            instruction=settings.instruction,
            show_images=settings.show_images,
        )
        self.similarity = load_similarity(settings.similarity_model)

    def notes(self) -> dict[str, float]:
        return self.counts.take()

    def __call__(self, block: Sequence[Example]) -> list[Pair | Skip]:
        from mmpref.judges.rewriter import Rewriting, count_rewriting

        replies = self.rewriter.rewrite(
            [Rewriting(example.id, example.images, example.prompt, example.answer, self.seed) for example in block]
        )
        self.counts.add(count_rewriting(replies))
        cosines = self.similarity([reply.text or "" for reply in replies], [example.answer for example in block])
        outcomes: list[Pair | Skip] = []
        for example, reply, cosine in zip(block, replies, cosines, strict=True):
            if reply.text is None:
                outcomes.append(not_rewritten(example, reply))
            else:
                outcomes.append(Pair(example, reply.text.strip(), "corrupt", cosine, 1, self.seed))
        return outcomes


BUILDER = Builder(
    config=lambda: Settings,
    worker=_Worker,
    uses_model=False,
    needs_annotator=True,
    model_settings=("similarity_model",),
)
