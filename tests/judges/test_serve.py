"""A real OpenAI-compatible server that nobody here wrote: `transformers serve` with the testbed's model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mmpref.errors import ModelError
from mmpref.judges.annotator import Comparison, count_verdicts
from mmpref.judges.chat import ChatSettings, Query, count_usage
from mmpref.judges.endpoint import Endpoint
from mmpref.judges.local import LocalChat
from mmpref.judges.resolve import open_annotator
from mmpref.registry import resolve_path
from mmpref.testbed import language
from mmpref.testbed.render import png
from mmpref.testbed.training.build import IMAGE_TOKENS
from mmpref.testbed.world import scene
from mmpref.types import ImageData, Message, ModelRef
from mmpref.vlm.load import load_policy

from .serve import serving

MODEL = resolve_path("pkg:mmpref.testbed/model")
IMAGES = [ImageData(png(scene("test", index))) for index in range(4)]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(MODEL, tmp_path_factory.mktemp("serve") / "log") as url:
        yield url


def test_the_served_model_sees_what_the_local_one_sees(url: str) -> None:
    prompts = (language.CAPTION_PROMPTS[0], "Is there a cup in the image?")
    queries = [Query((Message("user", text),), (image,)) for image in IMAGES for text in prompts]
    settings = ChatSettings(max_tokens=40, concurrency=2)
    served = Endpoint(url, MODEL, settings).ask(queries)
    local = LocalChat(lambda: load_policy(ModelRef(MODEL)), "testbed", settings).ask(queries)
    assert [(reply.text or "").strip() for reply in served] == [reply.text for reply in local], served
    assert len({reply.text for reply in served[::2]}) == len(IMAGES), "each image has its own caption"
    counts = count_usage(served)
    assert counts["failed"] == 0
    assert counts["prompt_tokens"] > IMAGE_TOKENS * len(queries), "image tokens are counted"


def test_an_annotator_that_does_not_understand_is_missing(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MMPREF_CACHE", str(tmp_path))
    pair = Comparison((IMAGES[0],), (Message("user", "Describe the image."),), "A cup.", "A fork.")
    counts = count_verdicts(open_annotator(f"{url}#{MODEL}", ChatSettings(max_tokens=8)).compare([pair]))
    assert (counts["missing"], counts["failed"]) == (1, 0)


def test_a_path_that_is_no_api_is_told(url: str) -> None:
    with pytest.raises(ModelError, match="ends in /v1"):
        Endpoint(url.removesuffix("/v1") + "/nothing", MODEL, ChatSettings(retries=0)).ask(
            [Query((Message("user", "x"),))]
        )
