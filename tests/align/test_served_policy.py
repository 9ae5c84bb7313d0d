"""The policy in training behind a server: it answers with the weights of the step, or nothing is begun."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from mmpref.align import served_policy
from mmpref.align.method import METHODS
from mmpref.align.recipe import LoraSettings, TrainRecipe, refuse
from mmpref.align.served_policy import FollowingWriter, client_errors, merged_weights, refuse_sending
from mmpref.align.train import train
from mmpref.cli.main import main
from mmpref.errors import ModelError, UsageError
from mmpref.sampling.answers import LocalWriter
from mmpref.testbed.language import CAPTION_PROMPTS
from mmpref.testbed.render import SIDE, png
from mmpref.testbed.world import scene
from mmpref.types import Example, ImageData, Message, ModelRef
from mmpref.vlm.decoding import Decoding
from mmpref.vlm.load import load_policy
from mmpref.vlm.policy import Policy
from tests.judges.server import ChatServer

from .conftest import MODEL
from .vllm_server import NAME, VllmServer

URL = f"http://127.0.0.1:9/v1#{NAME}"
LOSS: dict[str, dict[str, Any]] = {
    "online-dpo": {"temperature": 1.5, "max_answer_tokens": 48},
    "rloo": {"reward": "testbed-oracle", "temperature": 1.5, "max_answer_tokens": 30, "samples": 2},
}


def recipe(method: str, data: Path, server: str, **changes: Any) -> TrainRecipe:
    trainer = {
        "learning_rate": 3e-2,
        "max_steps": 2,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 1,
        "save_strategy": "no",
    }
    annotator = "testbed-oracle" if METHODS.get(method).needs_annotator else None
    loss = {**LOSS[method], "server": server}
    made = TrainRecipe(
        MODEL, (str(data),), method, lora=LoraSettings(4, 8), trainer=trainer, loss=loss, annotator=annotator
    )
    return replace(made, **changes)


@pytest.fixture
def send_weights(monkeypatch: pytest.MonkeyPatch) -> list[VllmServer]:
    """TRL's client as if vllm and a CUDA device were there. The server that is started goes into the list."""
    from trl.generation import vllm_client, vllm_generation

    servers: list[VllmServer] = []

    def join(client: Any, device: Any) -> None:
        client.communicator = servers[0].weights

    def send(iterator: Iterator[tuple[str, torch.Tensor]], trainer_args: Any) -> None:
        for name, value in iterator:
            trainer_args.group.put((name, value.clone()))

    monkeypatch.setattr(served_policy, "_missing", lambda: "")
    for module in (vllm_client, vllm_generation):
        monkeypatch.setattr(module, "is_vllm_available", lambda *_: True)
    monkeypatch.setattr(vllm_client.VLLMClient, "init_communicator", join)
    engine = SimpleNamespace(trainer_send_weights=send)
    monkeypatch.setattr(vllm_client, "NCCLWeightTransferEngine", engine, raising=False)
    monkeypatch.setattr(vllm_client, "NCCLTrainerSendWeightsArgs", SimpleNamespace, raising=False)
    return servers


@pytest.fixture(scope="module")
def adapted() -> Policy:
    """A policy with an adapter that says something else than its base: LoRA, and a projector of its own."""
    from peft import get_peft_model

    from mmpref.align.adapter import lora_config

    policy = load_policy(ModelRef(MODEL))
    torch.manual_seed(0)
    model = get_peft_model(policy.base_model, lora_config(policy, LoraSettings(4, 8), True)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * (0.15 if "lora_" in name else 0.02))
    return Policy(model, policy.processor, policy.family, replace(policy.ref, adapter="memory"))


def examples(count: int) -> list[Example]:
    return [
        Example(str(n), (ImageData(png(scene("test", n))),), (Message("user", CAPTION_PROMPTS[0]),), "", "")
        for n in range(count)
    ]


def pictures_of(data: Path) -> set[bytes]:
    """The pixels of all images of a data set folder."""
    [file] = (data / "data").iterdir()
    cells = [cell for row in pq.read_table(file, columns=["images"]).to_pylist() for cell in row["images"]]
    return {Image.open(io.BytesIO(cell["bytes"])).convert("RGB").tobytes() for cell in cells}


def answers(writer: Any, count: int = 2) -> list[str]:
    return [answer.text for answer in writer.generate(examples(count), Decoding(32))]


def test_merged_weights_are_the_policys_and_the_base_stays_as_it_is(adapted: Policy) -> None:
    before = {name: value.clone() for name, value in adapted.model.named_parameters()}
    merged = dict(merged_weights(adapted.base_model))
    assert all(torch.equal(value, before[name]) for name, value in adapted.model.named_parameters())
    plain = load_policy(ModelRef(MODEL))
    assert set(merged) == {name for name, _ in plain.base_model.named_parameters()}
    base = answers(LocalWriter(plain))
    plain.base_model.load_state_dict(merged, strict=False)
    assert answers(LocalWriter(plain)) == answers(LocalWriter(adapted)) != base


def test_a_server_answers_with_the_weights_that_it_was_sent(
    adapted: Policy,
    send_weights: list[VllmServer],
) -> None:
    with VllmServer(load_policy(ModelRef(MODEL))) as server:
        send_weights.append(server)
        writer = FollowingWriter(f"{server.url}#{NAME}", adapted)
        base = answers(writer)
        writer.follow(0)
        assert answers(writer) == answers(LocalWriter(adapted)) != base
        writer.follow(0)
        assert server.calls.count("/update_weights") == 1, "once a step"
        writer.follow(1)
        order = [call for call in server.calls if call != "/health"]
        assert order == ["/start_weight_update", "/update_weights", "/finish_weight_update", "/reset_prefix_cache"] * 2
        assert {picture.size for picture in server.shown} == {(SIDE, SIDE)}


def test_online_dpo_learns_from_what_a_following_server_wrote(
    preferences: Path,
    send_weights: list[VllmServer],
    tmp_path: Path,
) -> None:
    with VllmServer(load_policy(ModelRef(MODEL))) as server:
        send_weights.append(server)
        spec = f"{server.url}#{NAME}"
        manifest = train(recipe("online-dpo", preferences, spec), tmp_path / "run")
        assert len(server.taken) == 2
        assert len(server.requests) == len({body["seed"] for body in server.requests}) == 2 * 4 * 2
    shown = [picture.tobytes() for picture in server.shown]
    assert len(shown) == 2 * len(set(shown)) == 2 * 4 * 2, "each row's own picture, once a sample"
    assert set(shown) <= pictures_of(preferences)
    assert manifest["seeds"] == {"run": 0}
    first, second = server.taken
    assert any(not torch.equal(first[name], second[name]) for name in first), "the second step's are others"
    assert manifest["server"] == {"url": server.url, "model": NAME, "weights": "sent before every step"}
    assert manifest["drawn"]["server_requests"] == 16
    assert manifest["drawn"]["used"] > 0


def test_rloo_learns_from_what_a_following_server_wrote(
    preferences: Path,
    send_weights: list[VllmServer],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with VllmServer(load_policy(ModelRef(MODEL))) as server:
        send_weights.append(server)
        asked = recipe("rloo", preferences, f"{server.url}#{NAME}")
        manifest = train(asked, tmp_path / "run")
    assert len(server.taken) == 2
    shown = [picture.tobytes() for picture in server.shown]
    assert len(shown) == len(set(shown)) == len(server.generations) > 2, "each row's own picture"
    assert set(shown) <= pictures_of(preferences)
    assert manifest["seeds"] == {"run": 0}
    seeds = [body["sampling_params"]["seed"] for body in server.generations]
    assert len(set(seeds)) == 2, "one a step"
    assert all(body["sampling_params"]["n"] == 2 for body in server.generations)
    assert manifest["server"]["model"] == NAME
    assert manifest["steps"] == 2
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(served_policy, "_missing", lambda: "there is no CUDA device")
        assert train(asked, tmp_path / "run") == manifest, "a finished run needs nothing of the machine"


@pytest.mark.parametrize("method", LOSS)
def test_without_a_way_to_send_weights_nothing_is_begun(
    method: str, preferences: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--annotator", "testbed-oracle"] if method == "online-dpo" else ["--set", "loss.reward=testbed-oracle"]
    where = ["--dataset", str(preferences), "--output", str(tmp_path / "run")]
    with pytest.raises(SystemExit) as exited:
        main(["train", "--method", method, *options, *where, "--set", f"loss.server={URL}"])
    assert exited.value.code == 2
    told = capsys.readouterr().err
    assert "cannot be sent to http://127.0.0.1:9/v1#me/vlm before every step" in told
    assert "Without --set loss.server=URL#MODEL," in told
    assert not (tmp_path / "run").exists()


Patch = Callable[[pytest.MonkeyPatch], None]


@pytest.mark.parametrize(
    ("changes", "patch", "message"),
    [
        ({}, lambda m: m.setenv("WORLD_SIZE", "2"), "follows one process"),
        ({"quantization": "4bit"}, lambda m: None, "quantized model"),
        ({"lora": LoraSettings(4, 8, use_dora=True)}, lambda m: None, "lora.use_dora are not sent"),
        ({"loss": {"server": "http://127.0.0.1:9/v1"}}, lambda m: None, "names an endpoint, but no model"),
        ({"loss": {"server": "me/vlm"}}, lambda m: None, "must be URL#MODEL"),
        ({"model": URL}, lambda m: None, "training changes weights"),
    ],
)
def test_what_cannot_follow_is_refused_with_the_reason(
    changes: dict[str, Any], patch: Patch, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = replace(recipe("online-dpo", Path("x"), URL), **changes)
    patch(monkeypatch)
    with pytest.raises(UsageError, match=message):
        refuse(asked, METHODS.get("online-dpo"))


@pytest.mark.parametrize(
    ("spec", "message"), [(object(), "needs a CUDA device"), (None, "pip install 'trl\\[vllm\\]'")]
)
@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU can send them")
def test_what_a_machine_lacks_to_send_weights_is_told(
    spec: object, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: spec)
    with pytest.raises(UsageError, match=message):
        refuse_sending(URL)


class Health(BaseHTTPRequestHandler):
    """Says what `statuses` have, one after the other, and the last for ever."""

    statuses: list[int]

    def do_GET(self) -> None:
        self.send_response(self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0])
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def health() -> Iterator[Callable[..., str]]:
    """A server's URL, given the statuses that it says when it is asked whether it is ready."""
    servers: list[ThreadingHTTPServer] = []

    def serve(*statuses: int) -> str:
        handler = type("Told", (Health,), {"statuses": list(statuses)})
        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), handler))
        Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}/v1#{NAME}"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_server_that_is_not_up_yet_is_waited_for(health: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served_policy, "_PAUSE", 0.01)
    with client_errors(health(503, 204, 200), connecting=True):
        pass


@pytest.mark.parametrize(
    ("status", "said"), [(500, "HTTP 500"), (401, "HTTP 401"), (204, "HTTP 204"), (None, "refused")]
)
def test_a_server_that_does_not_get_ready_is_waited_for_so_long_and_no_longer(
    status: int | None,
    said: str,
    health: Callable[..., str],
    adapted: Policy,
    send_weights: list[VllmServer],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """TRL's client would wait for ever for a server that answers, and not that it is ready."""
    monkeypatch.setattr(served_policy, "_WAIT", 0.1)
    with pytest.raises(ModelError, match=rf"not ready after 0\.1 seconds; asked for /health it last said: .*{said}"):
        FollowingWriter(health(status) if status else URL, adapted)


def test_a_server_that_takes_no_weights_is_told(
    adapted: Policy, send_weights: list[VllmServer], preferences: Path, tmp_path: Path
) -> None:
    with ChatServer(lambda *_: "x") as server:
        with pytest.raises(ModelError, match="does not take the policy's weights: it has no /health"):
            FollowingWriter(f"{server.url}#{NAME}", adapted)
        with pytest.raises(ModelError, match="it has no /health"):
            train(recipe("rloo", preferences, f"{server.url}#{NAME}"), tmp_path / "run")
