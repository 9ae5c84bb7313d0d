"""Cosine similarity of two answers under a sentence-transformers model, whatever their length."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from mmpref.errors import ModelError, excerpt, reason_of
from mmpref.hub_cache import cache_first, not_found_here
from mmpref.origins.revisions import ref_of
from mmpref.registry import resolve_path
from mmpref.sampling.embedders import WITHOUT_NETWORK, embedder_commit
from mmpref.sampling.sentences import split

if TYPE_CHECKING:
    import numpy as np


class Similarity:
    """An embedder of answers.

    An answer longer than the model's window (384 word pieces for all-mpnet-base-v2) is embedded in chunks of whole
    sentences (of parts of one that is too long itself) whose vectors are averaged by length: what comes late in an
    answer counts too.

    Args:
        model: ``ID``, ``ID@REVISION`` or a folder. Every file is of the one commit that this means now.

    Raises:
        ModelError: the model cannot be loaded.
    """

    def __init__(self, model: str) -> None:
        from sentence_transformers import SentenceTransformer

        ref, commit = ref_of(model), embedder_commit(model)
        try:
            with cache_first(ref.model, commit):
                self._model: Any = SentenceTransformer(
                    resolve_path(ref.model), device="cpu", revision=commit or ref.revision
                )
        except (OSError, ValueError, RuntimeError) as error:
            reason = not_found_here(error, ref.model) or excerpt(reason_of(error), 300)
            raise ModelError(
                f"Cannot load the similarity model {model}: {reason}",
                f"--similarity-model=NAME-OR-FOLDER names another. {WITHOUT_NETWORK}",
            ) from error
        self._window: int | None = self._model.max_seq_length

    def __call__(self, left: Sequence[str], right: Sequence[str]) -> list[float]:
        """Cosine of each pair of texts."""
        vectors = self.embed([*left, *right])
        return [float(a @ b) for a, b in zip(vectors[: len(left)], vectors[len(left) :], strict=True)]

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Unit vectors, float64 [n, E]."""
        import numpy as np

        chunks = [self._chunks(text) for text in texts]
        # A batch without any token is none for some models, and nobody reads how similar an empty answer is.
        flat = [chunk if chunk.strip() else "." for pieces in chunks for chunk in pieces]
        embedded = np.asarray(
            self._model.encode(flat, normalize_embeddings=True, show_progress_bar=False), dtype=np.float64
        )
        vectors, begin = [], 0
        for pieces in chunks:
            weights = np.array([len(piece) + 1 for piece in pieces], dtype=np.float64)
            mean = weights @ embedded[begin : begin + len(pieces)]
            norm = np.linalg.norm(mean)
            vectors.append(mean / norm if norm > 0 else mean)
            begin += len(pieces)
        return np.stack(vectors)

    def _chunks(self, text: str) -> list[str]:
        if self._window is None or self._length(text) <= self._window:
            return [text]
        chunks = [""]
        for part in (part for sentence in split(text) for part in self._fitting(sentence)):
            if chunks[-1] and self._length(chunks[-1] + part) > self._window:
                chunks.append("")
            chunks[-1] += part
        return chunks

    def _fitting(self, text: str) -> list[str]:
        """A sentence, halved (between words, where it has any) until every part fits into the window."""
        if self._window is None or len(text) < 2 or self._length(text) <= self._window:
            return [text]
        middle = text.rfind(" ", 1, len(text) // 2 + 1) + 1 or len(text) // 2
        return [*self._fitting(text[:middle]), *self._fitting(text[middle:])]

    def _length(self, text: str) -> int:
        return len(self._model.tokenizer.encode(text)) if hasattr(self._model.tokenizer, "encode") else 0


@lru_cache(maxsize=2)
def load_similarity(model: str) -> Similarity:
    """The embedder, loaded once in a process."""
    return Similarity(model)
