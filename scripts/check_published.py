"""Publish a reproduced run to a Hub-protocol server on loopback and load it back with plain libraries.

    python scripts/check_published.py RUN PYTHON [--record]

PYTHON is an interpreter that has the libraries but not mmpref. With --record the published cards and their facts become
the rendered examples in dataset_cards/ and model_cards/.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.hub.server import HubServer

ROOT = Path(__file__).parents[1]

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


def record(server: HubServer) -> None:
    """Keep what a visitor of the two repositories sees first."""
    for folder, kind, name in (
        ("dataset_cards/testbed-bdhs", "datasets", "testbed-bdhs"),
        ("model_cards/testbed-bdhs-dpo", "models", "testbed-adapter"),
    ):
        prefix = "" if kind == "models" else "datasets/"
        wanted = ["README.md", "run.json", *(["statistics.png"] if kind == "datasets" else [])]
        while wanted:
            file = wanted.pop(0)
            address = f"{server.endpoint}/{prefix}someone/{name}/resolve/main/{file}"
            target = ROOT / folder / file
            target.parent.mkdir(parents=True, exist_ok=True)
            with urllib.request.urlopen(address) as answer:
                target.write_bytes(answer.read())
            if file == "README.md":
                wanted += re.findall(r"\((pictures/[\w.-]+)\)", target.read_text(encoding="utf-8"))


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
        for step, option, name in (
            ("build-dataset", "--hub-dataset-id", "testbed-bdhs"),
            ("train", "--hub-model-id", "testbed-adapter"),
            ("evaluate", "--hub-model-id", "testbed-adapter"),
        ):
            command = [sys.executable, "-m", "mmpref", "publish", str(run / step), option, f"someone/{name}"]
            subprocess.run(command, env=environment, check=True)
        if "--record" in sys.argv:
            record(server)
        command = [plain, "-c", LOAD, "someone", str(base), str((run / "train").resolve())]
        done = subprocess.run(command, env=environment, check=False, cwd=home)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
