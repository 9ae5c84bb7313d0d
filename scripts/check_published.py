"""Publish a reproduced run to a Hub-protocol server on loopback and load it back with plain libraries.

    python scripts/check_published.py RUN PYTHON [--record]

PYTHON is an interpreter that has the libraries but not mmpref. With --record the published cards and their facts become
the rendered examples in dataset_cards/ and model_cards/, beside a picture of the run's report, which needs Chromium.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from record_cards import record  # noqa: E402

from tests.hub.browser import Browser  # noqa: E402
from tests.hub.server import HubServer  # noqa: E402

WIDTH = 1100
"""Of the report's picture, in pixels."""

PUBLISH = """
import json, sys
from mmpref.cli.main import program
for words in json.loads(sys.argv[1]):
    program.main(["publish", *words], standalone_mode=False)
"""
"""In one process, which imports once."""
LOAD = """
import sys
try:
    import mmpref.run.directory
except ModuleNotFoundError:
    pass  # as it should be; templates of an editable install may still make the bare name importable
else:
    raise SystemExit("mmpref is installed here")
import datasets, torch
from peft import PeftModel
from transformers import AutoModelForImageTextToText, AutoProcessor

user, base, adapter = sys.argv[1:]
rows = datasets.load_dataset(f"{user}/testbed-bdhs", split="train")
assert {"images", "prompt", "chosen", "rejected", "id"} <= set(rows.column_names), rows.column_names
assert all(row["chosen"] != row["rejected"] for row in rows)
streamed = next(iter(datasets.load_dataset(f"{user}/testbed-bdhs", split="train", streaming=True)))
assert streamed["rejected"] == rows[0]["rejected"]

model = AutoModelForImageTextToText.from_pretrained(base, dtype=torch.float32)
processor = AutoProcessor.from_pretrained(f"{user}/testbed-adapter")
turns = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": rows[0]["prompt"][0]["content"]}]}]
text = processor.apply_chat_template(turns, add_generation_prompt=True)
inputs = processor(text=[text], images=[rows[0]["images"][0]], return_tensors="pt", add_special_tokens=False)
with torch.no_grad():
    before = model(**inputs).logits.clone()
    after = PeftModel.from_pretrained(model, f"{user}/testbed-adapter")(**inputs).logits
assert (before - after).abs().max() > 0
local = AutoModelForImageTextToText.from_pretrained(base, dtype=torch.float32)
with torch.no_grad():
    trained = PeftModel.from_pretrained(local, adapter)(**inputs).logits
assert torch.equal(after, trained), "the published adapter is another one"
print(f"loaded back without mmpref: {len(rows)} pairs, and the adapter that was trained")
"""


def picture(page: Path, file: Path) -> None:
    """What a browser shows of a page, in its whole length."""
    with Browser() as browser:
        browser.call("Page.enable")
        browser.call("Page.navigate", url=page.resolve().as_uri())
        browser.wait_for("document.readyState == 'complete'")
        height = browser.evaluate("document.documentElement.scrollHeight")
        metrics = {"width": WIDTH, "height": height, "deviceScaleFactor": 1, "mobile": False}
        browser.call("Emulation.setDeviceMetricsOverride", **metrics)
        browser.screenshot(file)


def main() -> int:
    run, plain = Path(sys.argv[1]), sys.argv[2]
    base = ROOT / "mmpref" / "testbed" / "model"
    with HubServer() as server, tempfile.TemporaryDirectory() as home:
        token = server.store.add_user("someone")
        environment = {
            **os.environ,
            "HF_ENDPOINT": server.endpoint,
            "HF_TOKEN": token,
            "HF_HOME": home,
            "HF_HUB_DISABLE_XET": "1",
        }
        words = [
            [str(run / "build-dataset"), "--hub-dataset-id", "someone/testbed-bdhs"],
            [str(run / "train"), "--hub-model-id", "someone/testbed-adapter"],
            [str(run / "evaluate"), "--hub-model-id", "someone/testbed-adapter"],
        ]
        subprocess.run([sys.executable, "-c", PUBLISH, json.dumps(words)], env=environment, check=True)
        if "--record" in sys.argv:
            record(server, "dataset", "testbed-bdhs", ROOT / "dataset_cards" / "testbed-bdhs")
            record(server, "model", "testbed-adapter", ROOT / "model_cards" / "testbed-bdhs-dpo")
        command = [plain, "-c", LOAD, "someone", str(base), str((run / "train").resolve())]
        done = subprocess.run(command, env=environment, check=False, cwd=home)
    if "--record" in sys.argv:
        picture(run / "report.html", ROOT / "dataset_cards" / "testbed-bdhs" / "report.png")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
