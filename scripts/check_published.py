"""Publish a reproduced run to a Hub-protocol server on loopback and load it back with plain libraries.

    python scripts/check_published.py RUN PYTHON

PYTHON is an interpreter that has the libraries but not mmpref.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.hub.server import HubServer

LOAD = """
import sys
try:
    import mmpref.run
except ModuleNotFoundError:
    pass  # as it should be; templates of an editable install may still make the bare name importable
else:
    raise SystemExit("mmpref is installed here")
import datasets, torch
from peft import PeftModel
from transformers import AutoModelForImageTextToText, AutoProcessor

user, base = sys.argv[1:]
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
print(f"loaded back without mmpref: {len(rows)} pairs, and an adapter that changes the logits")
"""


def main() -> int:
    run, plain = Path(sys.argv[1]), sys.argv[2]
    base = Path(__file__).parents[1] / "mmpref" / "testbed" / "model"
    with HubServer() as server, tempfile.TemporaryDirectory() as home:
        token = server.store.add_user("someone")
        environment = {**os.environ, "HF_ENDPOINT": server.endpoint, "HF_TOKEN": token, "HF_HOME": home,
                       "HF_HUB_DISABLE_XET": "1"}  # fmt: skip
        for step, option, name in (("build-dataset", "--hub-dataset-id", "testbed-bdhs"),
                                   ("train", "--hub-model-id", "testbed-adapter"),
                                   ("evaluate", "--hub-model-id", "testbed-adapter")):  # fmt: skip
            command = [sys.executable, "-m", "mmpref", "publish", str(run / step), option, f"someone/{name}"]
            subprocess.run(command, env=environment, check=True)
        done = subprocess.run([plain, "-c", LOAD, "someone", str(base)], env=environment, check=False, cwd=home)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
