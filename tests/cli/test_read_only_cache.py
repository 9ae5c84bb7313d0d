"""A cache that is read only, a real one: what is cached works, and of what is not it is said what to do."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import HfApi, snapshot_download

from mmpref.hub_cache import unwritable
from tests.hub_fixtures import HubAccount

from .test_small_disk import ROOT, _may_mount

MODEL = ROOT / "mmpref/testbed/model"


@pytest.mark.long
def test_commands_work_with_a_cached_model_and_tell_of_one_that_is_not(
    hub: HubAccount, hub_env: dict[str, str], tmp_path: Path
) -> None:
    if not _may_mount():
        pytest.skip("this system lets nobody mount a disk in a namespace of his own")
    api = HfApi(endpoint=hub.endpoint, token=hub.token)
    for name in ("base", "other"):
        api.create_repo(f"{hub.name}/{name}")
        api.upload_folder(repo_id=f"{hub.name}/{name}", folder_path=str(MODEL))
    cache = f"{hub_env['HF_HOME']}/hub"
    snapshot_download(f"{hub.name}/base", endpoint=hub.endpoint, token=hub.token, cache_dir=cache)
    command = ["unshare", "-rm", sys.executable, "-m", "tests.cli.read_only_cache", str(tmp_path), hub.name]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=hub_env)
    assert done.returncode == 0, done.stderr
    *works, (_, code, told) = json.loads(done.stdout.splitlines()[-1])
    assert [code for _, code, _ in works] == [0] * 5, works
    assert code == 1
    assert f"The cache {hub_env['HF_HOME']} cannot be written (Read-only file system): set HF_HOME" in told


def test_only_a_cache_that_cannot_be_written_is_told_of(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr("huggingface_hub.constants.HF_HOME", str(tmp_path / "file/cache"))

    def failing(place: Path) -> None:
        try:
            place.mkdir()
        except OSError as cause:
            raise ValueError("wrapped") from cause

    for place, told in ((tmp_path / "file/cache", True), (tmp_path / "file/elsewhere", False)):
        with pytest.raises(ValueError, match="wrapped") as error:
            failing(place)
        assert ("set HF_HOME" in unwritable(error.value)) is told
    assert unwritable(FileNotFoundError("no such model")) == ""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "file/hub"))
    with pytest.raises(ValueError, match="wrapped") as error:
        failing(tmp_path / "file/hub/models")
    assert unwritable(error.value).endswith("set HF_HUB_CACHE to a folder that can.")
