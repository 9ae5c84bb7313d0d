"""A server that speaks as vLLM's does to TRL: it takes weights between answers, and answers with them.

All requests are real ones over loopback. Only the weights themselves, which vLLM's library sends over NCCL from one
CUDA device to another, come through a queue here.
"""

from __future__ import annotations

import base64
import io
import queue
from typing import Any

import torch
from PIL import Image
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from mmpref.vlm.policy import Policy
from tests.judges.served_model import ModelServer

NAME = "me/vlm"


class VllmServer(ModelServer):
    """Context manager; `url` is the API's root.

    Args:
        policy: a model of its own, whose weights are overwritten.
    """

    def __init__(self, policy: Policy) -> None:
        self._model = policy
        self.weights: queue.Queue[tuple[str, torch.Tensor]] = queue.Queue()
        self.calls: list[str] = []
        self.taken: list[dict[str, torch.Tensor]] = []
        self.generations: list[dict[str, Any]] = []
        super().__init__({NAME: lambda: policy})

    def routes(self) -> list[Route]:
        return [
            Route("/health", self._note),
            Route("/v1/models", self._models),
            *(
                Route(path, self._note, methods=["POST"])
                for path in ("/start_weight_update", "/finish_weight_update", "/reset_prefix_cache")
            ),
            Route("/update_weights", self._update, methods=["POST"]),
            Route("/v1/chat/completions/render", self._render, methods=["POST"]),
            Route("/inference/v1/generate", self._generate, methods=["POST"]),
        ]

    async def _note(self, request: Request) -> Response:
        self.calls.append(request.url.path)
        return JSONResponse({})

    async def _models(self, _: Request) -> Response:
        return JSONResponse({"data": [{"id": NAME}]})

    async def _update(self, request: Request) -> Response:
        self.calls.append(request.url.path)
        own, announced = dict(self._model.base_model.named_parameters()), (await request.json())["update_info"]
        assert set(own) == set(announced["names"])
        taken = {}
        for name, dtype, shape in zip(*(announced[key] for key in ("names", "dtype_names", "shapes")), strict=True):
            sent, value = self.weights.get(timeout=60)
            assert (sent, f"torch.{dtype}", shape) == (name, str(value.dtype), list(value.shape))
            own[name].data.copy_(value)
            taken[name] = value
        self.taken.append(taken)
        return JSONResponse({})

    async def _render(self, request: Request) -> Response:
        [message] = (await request.json())["messages"]
        urls = [part["image_url"]["url"] for part in message["content"]]
        places = [{"offset": 0, "length": 1} for _ in urls]
        return JSONResponse({"features": {"urls": urls, "mm_placeholders": {"image": places}}})

    async def _generate(self, request: Request) -> Response:
        body = await request.json()
        self.generations.append(body)
        asked, ids = body["sampling_params"], torch.tensor([body["token_ids"]])
        urls = body["features"]["urls"]
        images = [Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGB") for url in urls]
        self.shown += images
        [place] = body["features"]["mm_placeholders"]["image"]
        is_image = (ids[0] == self._model.image_token_id).nonzero()[:, 0]
        assert (place["offset"], place["length"]) == (int(is_image[0]), len(is_image))
        inputs = self._model.processor.image_processor(images, return_tensors="pt")
        choices = []
        for number in range(asked["n"]):
            torch.manual_seed(asked["seed"] + number)
            written = self._model.base_model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                **inputs,
                do_sample=True,
                temperature=asked["temperature"],
                max_new_tokens=asked["max_tokens"],
                suppress_tokens=[int(token) for token in asked["logit_bias"]],
            )
            choices.append({"token_ids": written[0, ids.shape[1] :].tolist(), "logprobs": None})
        return JSONResponse({"choices": choices})
