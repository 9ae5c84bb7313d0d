"""Unmodified clients and the server: what they write and read by themselves, and what they read of our pushes.

HF_ENDPOINT is read when huggingface_hub is imported, so the clients run in processes of their own.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import bare
from tests.hub.conftest import Push
from tests.hub_fixtures import HubAccount

ROUND_TRIP = """
import sys
from pathlib import Path
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError

user, folder = sys.argv[1], Path(sys.argv[2])
api = HfApi()
assert api.whoami()["name"] == user

def raises(kind, action):
    try:
        action()
    except kind:
        return True

# huggingface_hub: a folder of more entries than a page, back as it was
repo = f"{user}/files"
api.create_repo(repo, private=True)
api.create_repo(repo, exist_ok=True)
for index in range(9):
    (folder / f"f{index}.txt").write_text(str(index))
(folder / "big.bin").write_bytes(bytes(200_000))
api.upload_folder(repo_id=repo, folder_path=folder)
api.create_branch(repo, branch="dev/one")
api.create_tag(repo, tag="v1")
back = Path(snapshot_download(repo, revision="dev/one"))
assert {p.name: p.read_bytes() for p in folder.iterdir()} == {
    p.name: p.read_bytes() for p in back.iterdir() if p.name != ".gitattributes"}
assert [c.title for c in api.list_repo_commits(repo, revision="v1")][-1] == "initial commit"
assert raises(EntryNotFoundError, lambda: hf_hub_download(repo, "nowhere"))
assert raises(RevisionNotFoundError, lambda: hf_hub_download(repo, "f1.txt", revision="nowhere"))
assert raises(RepositoryNotFoundError, lambda: HfApi(token=False).model_info(repo))
pull = api.create_pull_request(repo, "a pull request")
api.upload_file(repo_id=repo, path_or_fileobj=b"x", path_in_repo="x.txt", revision=pull.git_reference)
api.change_discussion_status(repo, pull.num, "open")
api.merge_pull_request(repo, pull.num)
assert api.get_discussion_details(repo, pull.num).status == "merged"
assert api.file_exists(repo, "x.txt")

# datasets: its own push, then plain and streamed reading
from datasets import Dataset, load_dataset
rows = {"a": list(range(50)), "b": [str(i) for i in range(50)]}
Dataset.from_dict(rows).push_to_hub(f"{user}/rows", num_shards=3)
assert load_dataset(f"{user}/rows", split="train").to_dict() == rows
assert [r["a"] for r in load_dataset(f"{user}/rows", split="train", streaming=True)] == rows["a"]

# transformers: a model's push and from_pretrained
import torch
from transformers import AutoModelForCausalLM, LlamaConfig
config = LlamaConfig(vocab_size=32, hidden_size=16, intermediate_size=16, num_hidden_layers=1,
                     num_attention_heads=2, num_key_value_heads=2)
model = AutoModelForCausalLM.from_config(config).eval()
model.push_to_hub(f"{user}/model")
ids = torch.arange(8)[None]
again = AutoModelForCausalLM.from_pretrained(f"{user}/model").eval()
assert torch.equal(model(ids).logits, again(ids).logits)
print("ok")
"""

READ_OURS = """
import sys
import torch
from datasets import load_dataset
from peft import PeftModel
from transformers import AutoModelForCausalLM

user, local, expected = sys.argv[1:]
ours = load_dataset(f"{user}/pairs", split="train")
here = load_dataset("parquet", data_files=f"{local}/data/*.parquet", split="train")
assert ours.features == here.features and len(ours) == 6
for a, b in zip(ours, here):
    assert a["id"] == b["id"] and a["chosen"] == b["chosen"]
    assert a["image"].size == (24, 16) and a["image"].tobytes() == b["image"].tobytes()
streamed = list(load_dataset(f"{user}/pairs", split="train", streaming=True))
assert [row["id"] for row in streamed] == ours["id"][:]
assert streamed[3]["image"].tobytes() == ours[3]["image"].tobytes()

base = AutoModelForCausalLM.from_pretrained(f"{user}/base").eval()
ids = torch.arange(8)[None]
plain = base(ids).logits
tuned = PeftModel.from_pretrained(base, f"{user}/adapter").eval()(ids).logits
assert torch.equal(tuned, torch.load(expected)), "not the logits of the local adapter"
assert not torch.equal(tuned, plain), "the adapter changes nothing"
assert "mmpref" not in sys.modules
print("ok")
"""


def run_client(script: str, env: dict[str, str], *args: str) -> None:
    done = bare.python(script, *args, environment=env)
    assert done.stdout.strip().endswith("ok"), done.stderr[-3000:]


@pytest.mark.long
def test_unmodified_clients_write_and_read(hub: HubAccount, hub_env: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    run_client(ROUND_TRIP, hub_env, hub.name, str(tmp_path / "files"))
    assert hub.hub.faults.calls("lfs_part")


def save_adapter(folder: Path) -> None:
    """A tiny random llama, a LoRA adapter on it whose B is not zero, and the logits of both together."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=32,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
    )
    base = LlamaForCausalLM(config).eval()
    base.save_pretrained(folder / "base")
    lora = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
    tuned = get_peft_model(base, lora).eval()
    tuned.save_pretrained(folder / "adapter")
    (folder / "adapter/README.md").write_text("---\nlibrary_name: peft\nlicense: mit\n---\n# Adapter\n")
    with torch.no_grad():
        torch.save(tuned(torch.arange(8)[None]).logits, folder / "logits.pt")


@pytest.mark.long
def test_what_we_push_loads_without_us(
    hub: HubAccount, hub_env: dict[str, str], push: Push, dataset_folder: Path, tmp_path: Path
) -> None:
    """Equal rows and images by `load_dataset`, equal logits by `PeftModel.from_pretrained`; all of it private."""
    save_adapter(tmp_path)
    push(dataset_folder, "pairs", private=True)
    push(tmp_path / "base", "base", kind="model", private=True)
    push(tmp_path / "adapter", "adapter", kind="model", private=True)
    run_client(READ_OURS, hub_env, hub.name, str(dataset_folder), str(tmp_path / "logits.pt"))
