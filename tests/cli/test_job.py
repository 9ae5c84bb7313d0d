"""Work as a job: its state is kept on the Hub, and another machine goes on from it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest
from huggingface_hub import HfApi
from huggingface_hub.cli._uv_script_header import parse_uv_script_header

from mmpref.errors import HubError
from mmpref.hub import job_state
from mmpref.hub._calls import Retry
from mmpref.run.directory import open_run
from tests import bare, forked
from tests.hub_fixtures import HubAccount

SCRIPTS = Path(__file__).parents[2] / "scripts" / "jobs"
FAST = Retry(attempts=2, first_wait=0.01)


def script(name: str, *arguments: str, env: dict[str, str], cwd: Path) -> subprocess.CompletedProcess[str]:
    code = f"import runpy; runpy.run_path({str(SCRIPTS / f'{name}.py')!r}, run_name='__main__')"
    return bare.python(code, *arguments, environment={**env, "PYTHONPATH": str(SCRIPTS.parents[1])}, folder=cwd)


@pytest.mark.parametrize(
    ("name", "option"), [("build", "--limit 12"), ("train", "--method ipo"), ("evaluate", "--benchmark chair")]
)
def test_a_dry_run_says_what_would_be_done(
    name: str, option: str, hub: HubAccount, hub_env: dict[str, str], tmp_path: Path
) -> None:
    header = parse_uv_script_header((SCRIPTS / f"{name}.py").read_text())
    assert header is not None
    assert header.secrets == ["HF_TOKEN"]
    assert header.flavor
    done = script(name, "--dry-run", "--state", "state", "--every", "5", *option.split(), env=hub_env, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    command, state = done.stdout.splitlines()
    work = "build-dataset" if name == "build" else name
    assert command == f"mmpref {work} {option} --output runs/{work}"
    assert state == f"State: {work}.tar of the dataset {hub.name}/state, every 5 minutes; the run starts anew."
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--limt", "3"), "No such option '--limt'"),
        (("--output", "x"), "--output is the job's own."),
        (("--state", "somebody/state"), "You can push to"),
    ],
)
def test_what_cannot_be_is_told_first(
    arguments: tuple[str, ...], says: str, hub_env: dict[str, str], tmp_path: Path
) -> None:
    done = script("build", "--state", "state", *arguments, "--dry-run", env=hub_env, cwd=tmp_path)
    assert done.returncode in (1, 2)
    assert says in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_a_state_is_the_folder_as_it_was(hub: HubAccount, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", hub.token)
    folder = tmp_path / "run"
    (folder / ".mmpref" / "training").mkdir(parents=True)
    (folder / ".mmpref" / "recipe.json").write_text("{}")
    (folder / ".mmpref" / "training" / "features-0.bin").write_bytes(bytes(1000))
    (folder / "log.jsonl").write_text('{"step": 1}\n')
    state = job_state.JobState(f"{hub.name}/state", "run", endpoint=hub.endpoint, retry=FAST)
    assert not state.exists()
    assert not state.restore(tmp_path / "elsewhere")
    hub.hub.faults.add("commit", "status", status=503)
    state.keep(folder)
    assert state.exists()
    assert HfApi(endpoint=hub.endpoint, token=hub.token).dataset_info(f"{hub.name}/state").private
    assert state.restore(tmp_path / "elsewhere")
    found = {str(p.relative_to(tmp_path / "elsewhere")) for p in (tmp_path / "elsewhere").rglob("*") if p.is_file()}
    assert found == {".mmpref/recipe.json", "log.jsonl"}, "what is made again is left out"
    hub.hub.faults.add("resolve", "status", status=403)
    with pytest.raises(HubError):  # a Hub that fails is not a state that is not there
        state.restore(tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_damaged_or_hostile_state_is_refused(
    hub: HubAccount, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", hub.token)
    state, api = (
        job_state.JobState(f"{hub.name}/state", "run", endpoint=hub.endpoint, retry=FAST),
        HfApi(hub.endpoint, hub.token),
    )
    api.create_repo(state.repo_id, repo_type="dataset", private=True)
    with tarfile.open(tmp_path / "out.tar", "w") as archive:
        archive.add(__file__, "inside.py")
        archive.add(__file__, "../../outside.py")
    for content in (b"no archive", (tmp_path / "out.tar").read_bytes()):
        api.upload_file(path_or_fileobj=content, path_in_repo="run.tar", repo_id=state.repo_id, repo_type="dataset")
        with pytest.raises(HubError, match="damaged"):
            state.restore(tmp_path / "a" / "b")
        assert not list((tmp_path / "a").iterdir()), "a part of a state would pass for the whole at the next try"
        shutil.rmtree(tmp_path / "a")
    assert not (tmp_path.parent / "outside.py").exists()


def test_a_state_never_goes_where_everybody_sees_it(hub: HubAccount, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", hub.token)
    HfApi(hub.endpoint, hub.token).create_repo(f"{hub.name}/state", repo_type="dataset")
    with pytest.raises(HubError, match="exists and is public"):
        job_state.JobState(f"{hub.name}/state", "run", endpoint=hub.endpoint, retry=FAST)


def test_a_run_of_another_recipe_is_told_in_the_words_of_a_job(
    hub: HubAccount, hub_env: dict[str, str], tmp_path: Path
) -> None:
    open_run(tmp_path / "runs" / "pope", "evaluate", {"limit": 3})
    done = script("evaluate", "--state", "state", "--name", "pope", "--benchmark", "pope", env=hub_env, cwd=tmp_path)
    assert done.returncode == 1
    assert "runs/pope belongs to another recipe" in done.stderr
    state = f"pope.tar of the dataset {hub.name}/state"
    assert f"Choose another --name, or delete runs/pope and {state} to make it anew." in done.stderr
    (tmp_path / "runs" / "train").write_text("")
    done = script("train", "--state", "state", env=hub_env, cwd=tmp_path)
    assert "runs/train is a file. Choose another --name." in done.stderr


@pytest.mark.long
def test_a_job_that_is_cut_goes_on_elsewhere(hub: HubAccount, hub_env: dict[str, str], tmp_path: Path) -> None:
    """The first job is stopped once its state is kept; the second has another disk, and what it makes has the same
    bytes."""
    options = ("--state", "state", "--limit", "24", "--set", "block_size=4")
    first, second, plain = (tmp_path / name for name in ("first", "second", "plain"))
    for place in (first, second, plain):
        place.mkdir()
    env = {**hub_env, "JOB_ID": "68f1"}
    job = subprocess.Popen(
        [sys.executable, "-m", "mmpref", "job", "build-dataset", *options, "--every", "0.3"],
        env=env,
        cwd=first,
        stderr=subprocess.PIPE,
        text=True,
    )
    state = ("dataset", f"{hub.name}/state")
    while job.poll() is None and not (state in hub.hub.store.repos and "build-dataset.tar" in hub.hub.tree(*state)):
        time.sleep(0.05)
    job.terminate()
    job.wait()
    done = script("build", *options, env=env, cwd=second)
    assert done.returncode == 0, done.stderr
    assert "Going on from build-dataset.tar" in done.stderr
    straight = forked.mmpref(["build-dataset", *options[2:], "--output", "run"], folder=plain)
    assert straight.returncode == 0, straight.stderr
    made, wanted = second / "runs" / "build-dataset", plain / "run"
    for file in (wanted / "data").iterdir():
        assert (made / "data" / file.name).read_bytes() == file.read_bytes()
    assert json.loads((made / "run.json").read_text())["job"] == "68f1"
    assert "\n- hf_jobs\n" in (made / "README.md").read_text()
