"""`mmpref.publish`, as the command calls it, on a Hub."""

from __future__ import annotations

from pathlib import Path

from tests import bare
from tests.hub.pushed import published_files
from tests.hub.runs import adapter_run
from tests.hub_fixtures import HubAccount

BASE = "llava-hf/llava-v1.6-vicuna-7b-hf"


def test_a_demo_has_the_base_that_the_owner_named_before(
    hub: HubAccount, hub_env: dict[str, str], tmp_path: Path
) -> None:
    adapter_run(tmp_path / "adapter", str(tmp_path / "base"), None)
    words = ["publish", tmp_path / "adapter", "--hub-model-id", f"{hub.name}/vlm"]
    for more in (["--base-hub-id", BASE], ["--space"]):
        done = bare.mmpref([*words, *more], hub_env)
        assert done.returncode == 0, done.stderr
    assert f"BASE, REVISION = {BASE!r}, None" in published_files(hub, "space", "vlm-demo")["app.py"].decode()
