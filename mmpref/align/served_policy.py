"""The policy in training behind a vLLM server: TRL's client sends its weights there before every step's answers.

vLLM must have been started so that it takes weights (``VLLM_SERVER_DEV_MODE=1 vllm serve MODEL --weight-transfer-config
'{"backend": "nccl"}'``), and they travel over NCCL: both ends need a CUDA device, and this one needs vllm's library.
A server whose weights do not follow would write answers of another policy than the one that learns from them, so that
everything else is refused.
"""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from mmpref.distributed import num_processes
from mmpref.errors import MmprefError, ModelError, UsageError, reason_of
from mmpref.judges.resolve import endpoint_of
from mmpref.judges.served import ServedWriter

if TYPE_CHECKING:
    import torch

    from mmpref.vlm.policy import Policy

_WAIT = 60.0
"""Seconds for the server to come up."""
_PAUSE = 1.0
"""Seconds between two looks whether it has."""
_LOCAL = "Without --set loss.server=URL#MODEL, the model that is trained here writes the answers."


def refuse_server(spec: str, quantization: str | None = None, use_dora: bool = False) -> None:
    """See that a server can follow such a policy, on whatever machine.

    Args:
        spec: ``URL#MODEL``, the base as the server calls it.
        quantization: of the model that is trained.
        use_dora: the adapter scales weights too, which `merged_weights` does not.

    Raises:
        UsageError: it cannot.
    """
    if endpoint_of(spec) is None:
        raise UsageError(f"loss.server is {spec!r}; it must be URL#MODEL.", "Such as http://127.0.0.1:8000/v1#me/vlm.")
    if quantization:
        raise UsageError("The weights of a quantized model cannot be sent to a server.", _LOCAL)
    if use_dora:
        raise UsageError("The weights of lora.use_dora are not sent to a server.", f"Leave it out. Or: {_LOCAL}")
    if num_processes() > 1:
        raise UsageError("A server follows one process, and several were started.", f"Start one. Or: {_LOCAL}")


def refuse_sending(spec: str) -> None:
    """See that this machine can send weights to a server, before it trains.

    Raises:
        UsageError: it cannot.
    """
    if why := _missing():
        raise UsageError(f"The weights cannot be sent to {spec} before every step: {why}.", _LOCAL)


def _missing() -> str:
    """What this machine lacks to send weights; empty where it can."""
    import torch

    if importlib.util.find_spec("vllm") is None:
        return "TRL sends them by vllm's library, which is not installed here (pip install 'trl[vllm]')"
    return "" if torch.cuda.is_available() else "they travel over NCCL, which needs a CUDA device here"


class FollowingWriter(ServedWriter):
    """A server that writes answers with the weights of a policy in training.

    Args:
        spec: as of `refuse_server`.

    Raises:
        ModelError: it cannot be reached, or takes no weights.
    """

    def __init__(self, spec: str, policy: Policy) -> None:
        endpoint = endpoint_of(spec)
        assert endpoint is not None
        self._spec, self._policy, self._step = spec, policy, -1
        with client_errors(spec, connecting=True):
            from trl.generation.vllm_client import VLLMClient

            self._client = VLLMClient(base_url=server_root(spec), connection_timeout=_WAIT)
            self._client.init_communicator(device=policy.device)
        super().__init__(*endpoint)

    def follow(self, step: int) -> None:
        """Send the policy's weights as they are, once a step.

        Raises:
            ModelError: the server does not take them.
        """
        if step == self._step:
            return
        base = self._policy.base_model
        with client_errors(self._spec):
            metadata = [
                (name, str(value.dtype).removeprefix("torch."), list(value.shape))
                for name, value in merged_weights(base)
            ]
            self._client.update_named_params(metadata, merged_weights(base))
            self._client.reset_prefix_cache()
        self._step = step


def server_root(spec: str) -> str:
    """What TRL calls a server by: its URL without the API's ``/v1``."""
    endpoint = endpoint_of(spec)
    assert endpoint is not None
    return endpoint[0].rstrip("/").removesuffix("/v1")


def server_facts(server: str | None) -> dict[str, Any]:
    """Who wrote the answers that a run was trained on, for its manifest; nothing where it wrote them itself."""
    if server is None or (endpoint := endpoint_of(server)) is None:
        return {}
    return {"server": {"url": endpoint[0], "model": endpoint[1], "weights": "sent before every step"}}


def merged_weights(base: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """The parameters that a base would have with PEFT's adapter merged into it, by the base's own names.

    Args:
        base: the transformers model, with LoRA's layers in it, which are no DoRA. It stays as it is: merging in place
            and taking the sum apart again, as PEFT does, rounds the base's weights each time where they are in 16 bits.
    """
    import torch
    from peft.tuners.lora import LoraLayer

    layer = ".base_layer"
    adapted = {f"{name}{layer}.weight": one for name, one in base.named_modules() if isinstance(one, LoraLayer)}
    for name, parameter in base.named_parameters():
        if ".lora_" in name or ".original_module." in name:
            continue
        value = parameter.detach()
        if name in adapted:
            with torch.no_grad():
                value = (value.float() + adapted[name].get_delta_weight("default").float()).to(value.dtype)
        yield name.replace(layer, "").replace("modules_to_save.default.", ""), value


@contextlib.contextmanager
def client_errors(spec: str, *, connecting: bool = False) -> Iterator[None]:
    """What TRL's client says of a server within it, as an error of ours.

    Args:
        connecting: wait for a server that is not up yet, before the client asks for anything.

    Raises:
        ModelError: it says something, or the server is none of vLLM's.
    """
    root = server_root(spec)
    try:
        if connecting:
            _wait_until_up(root)
        yield
    except MmprefError:
        raise
    except Exception as error:  # it raises plain exceptions for what a server answers
        raise ModelError(
            f"The server at {root} does not take the policy's weights: {' '.join(str(error).split())[:300]}.", _LOCAL
        ) from error


def _wait_until_up(root: str) -> None:
    """Until a server says that it is ready, `_WAIT` seconds at most: TRL's client has no bound where one answers
    ``/health`` by anything else.

    Raises:
        ConnectionError: it does not say so in time, or it is none of vLLM's.
    """
    until = time.monotonic() + _WAIT
    while True:
        try:
            with urllib.request.urlopen(f"{root}/health", timeout=max(1.0, until - time.monotonic())) as reply:
                if reply.status == HTTPStatus.OK:
                    return
                said = f"HTTP {reply.status}"
        except urllib.error.HTTPError as error:
            if error.code == HTTPStatus.NOT_FOUND:
                raise ConnectionError("it has no /health, which vLLM's servers have") from error
            said = f"HTTP {error.code}"
        except (OSError, http.client.HTTPException) as error:  # it is not up yet
            said = reason_of(error)
        if time.monotonic() >= until:
            raise ConnectionError(f"it was not ready after {_WAIT:g} seconds; asked for /health it last said: {said}")
        time.sleep(min(_PAUSE, _WAIT))
