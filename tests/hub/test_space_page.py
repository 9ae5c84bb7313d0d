"""The demo Space in a real browser: its program as it is on the Hub, base and adapter from there, one click."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from mmpref.align.recipe import LoraSettings, TrainRecipe
from mmpref.align.train import train
from mmpref.hub.cards.model import write_model_card
from mmpref.registry import resolve_path
from mmpref.tables.open import open_table
from tests.hub.browser import CHROMIUM, Browser
from tests.hub_fixtures import HubAccount

MODEL = "pkg:mmpref.testbed/model"
QUESTION = "Describe the image."

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here to open the page with"),
    pytest.mark.skipif(importlib.util.find_spec("gradio") is None, reason="scripts/check_space.sh installs Gradio"),
]


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    """A training that was short and violent: its answers are others than the base's."""
    rows = [row for _, row in zip(range(17), open_table("testbed"), strict=False)]
    with open(tmp_path / "pairs.jsonl", "w", encoding="utf-8") as file:
        for number, (row, other) in enumerate(pairwise(rows)):
            image = tmp_path / f"{number}.png"
            image.write_bytes(row["images"][0]["bytes"])
            answers = {"chosen": row["completion"][0]["content"], "rejected": other["completion"][0]["content"]}
            file.write(json.dumps({"image": image.name, "prompt": row["prompt"][0]["content"], **answers}) + "\n")
    options = {"learning_rate": 3e-2, "max_steps": 6, "per_device_train_batch_size": 4}
    recipe = TrainRecipe(MODEL, (str(tmp_path / "pairs.jsonl"),), lora=LoraSettings(8, 16), trainer=options)
    train(recipe, tmp_path / "run", write_card=write_model_card)
    return tmp_path / "run"


@pytest.fixture
def page(hub: HubAccount, hub_env: dict[str, str], adapter: Path, tmp_path: Path) -> Iterator[str]:
    """Address of the running demo of the published adapter."""
    api = HfApi(endpoint=hub.endpoint, token=hub.token)
    api.create_repo(f"{hub.name}/tiny-vlm")
    api.upload_folder(repo_id=f"{hub.name}/tiny-vlm", folder_path=resolve_path(MODEL))
    words = ["publish", str(adapter), "--hub-model-id", f"{hub.name}/vlm", "--base-hub-id", f"{hub.name}/tiny-vlm"]
    command = [sys.executable, "-m", "mmpref", *words, "--space"]
    done = subprocess.run(command, env=hub_env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    program = tmp_path / "space" / "app.py"
    program.parent.mkdir()
    program.write_bytes(hub.hub.read("space", f"{hub.name}/vlm-demo", "app.py"))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    env = {**hub_env, "GRADIO_SERVER_PORT": str(port), "GRADIO_ANALYTICS_ENABLED": "False"}
    with open(tmp_path / "space.log", "wb") as log:
        process = subprocess.Popen([sys.executable, "app.py"], cwd=program.parent, env=env, stdout=log, stderr=log)
    try:
        address, end = f"http://127.0.0.1:{port}/", time.monotonic() + 300
        while True:
            try:
                urllib.request.urlopen(address, timeout=10).close()
                break
            except (urllib.error.URLError, OSError):
                assert process.poll() is None, (tmp_path / "space.log").read_text()
                assert time.monotonic() < end, "the page did not come up"
                time.sleep(0.5)
        yield address
    finally:
        process.terminate()
        process.wait(30)


def answers(image: Path, adapter: Path) -> tuple[str, str]:
    """What plain transformers says, and plain PEFT on top of it."""
    import torch
    from peft import PeftModel
    from PIL import Image
    from transformers import AutoModelForImageTextToText, AutoProcessor

    processor = AutoProcessor.from_pretrained(adapter)
    model = AutoModelForImageTextToText.from_pretrained(resolve_path(MODEL), dtype="auto").eval()
    turns = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": QUESTION}]}]
    text = processor.apply_chat_template(turns, add_generation_prompt=True)
    inputs = processor(text=[text], images=[Image.open(image)], return_tensors="pt", add_special_tokens=False)
    found = []
    for load in (lambda: model, lambda: PeftModel.from_pretrained(model, adapter).eval()):
        with torch.inference_mode():
            ids = load().generate(**inputs.to(dtype=model.dtype), max_new_tokens=128, do_sample=False)
        tokens = ids[:, inputs["input_ids"].shape[1] :]
        found.append(processor.batch_decode(tokens, skip_special_tokens=True)[0].strip())
    return found[0], found[1]


def test_base_and_adapter_answer_side_by_side(page: str, adapter: Path, tmp_path: Path) -> None:
    base, adapted = answers(tmp_path / "3.png", adapter)
    assert base != adapted
    with Browser() as browser:
        browser.call("Page.navigate", url=page)
        browser.wait_for("document.querySelector('input[type=file]') !== null")
        browser.give_file("input[type=file]", tmp_path / "3.png")
        browser.wait_for("document.querySelector('.image-frame img, img[src*=\"file=\"]') !== null")
        browser.evaluate(
            "(() => { const all = [...document.querySelectorAll('textarea')];"
            " const box = all.find(one => one.value.startsWith('Please'));"
            f" box.value = {json.dumps(QUESTION)}; box.dispatchEvent(new Event('input', {{bubbles: true}})) }})()"
        )
        browser.evaluate("[...document.querySelectorAll('button')].find(one => one.innerText == 'Ask both').click()")
        shown = browser.wait_for("document.querySelector('#adapter textarea').value")
        before = browser.evaluate("document.querySelector('#base textarea').value")
        browser.screenshot(tmp_path / "demo.png")
        if folder := os.environ.get("MMPREF_SCREENSHOTS"):
            browser.screenshot(Path(folder) / "demo.png")
        title = browser.evaluate("document.title")
    assert (before, shown) == (base, adapted)
    assert title == "vlm"
