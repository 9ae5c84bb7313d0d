"""Run directories and untrusted images."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mmpref.errors import ImageError, RunError, UsageError
from mmpref.images import decode, read_under
from mmpref.registry import resolve_path
from mmpref.run import directory as run_module
from mmpref.run.directory import Run, open_run
from mmpref.run.files import write_atomic
from mmpref.run.manifest import read_manifest
from mmpref.types import ImageData


@dataclass(frozen=True)
class Recipe:
    seed: int = 0
    rate: float = 0.5


def test_a_run_is_reopened_by_its_own_recipe_only(tmp_path: Path) -> None:
    run = open_run(tmp_path / "run", "train", Recipe())
    assert not run.finished
    assert open_run(tmp_path / "run", "train", Recipe()).recipe_hash == run.recipe_hash
    with pytest.raises(RunError, match=r"another recipe \(seed: 0 there, 1 now\)"):
        open_run(tmp_path / "run", "train", Recipe(seed=1))
    with pytest.raises(RunError, match="a run of `train`"):
        open_run(tmp_path / "run", "evaluate", Recipe())
    run.finish({"counts": {"rows": 3}})
    assert read_manifest(tmp_path / "run")["counts"] == {"rows": 3}


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(RunError, match="not a run of mmpref"):
        open_run(tmp_path, "train", Recipe())
    assert (tmp_path / "thesis.tex").read_text() == "precious"


def test_two_processes_never_work_in_one_run(tmp_path: Path) -> None:
    run = open_run(tmp_path / "run", "train", Recipe())
    with run.lock(), pytest.raises(RunError, match="Another process"), run.lock():
        pass


def test_two_recipes_never_claim_one_directory(tmp_path: Path) -> None:
    """Both processes find it empty; the second one waits for the first one's claim, and then sees it."""
    import fcntl

    state = tmp_path / "run/.mmpref"
    state.mkdir(parents=True)
    with ThreadPoolExecutor() as pool, open(state / "claim-lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        second = pool.submit(open_run, tmp_path / "run", "train", Recipe(seed=1))
        time.sleep(0.1)
        assert not second.done()
        first = {"command": "train", "recipe": {"seed": 0, "rate": 0.5}, "recipe_hash": "of the first"}
        write_atomic(state / "recipe.json", json.dumps(first))
        fcntl.flock(file, fcntl.LOCK_UN)
        with pytest.raises(RunError, match=r"another recipe \(seed: 0 there, 1 now\)"):
            second.result()


def test_of_many_that_claim_a_directory_at_once_one_recipe_gets_it(tmp_path: Path) -> None:
    def claim(seed: int) -> int | None:
        try:
            open_run(tmp_path / "run", "train", Recipe(seed=seed % 2))
        except RunError:
            return None
        return seed % 2

    with ThreadPoolExecutor(8) as pool:
        claimed = [seed for seed in pool.map(claim, range(24)) if seed is not None]
    assert len(claimed) == 12
    assert len(set(claimed)) == 1


def test_facts_that_two_processes_pin_at_once_are_the_first_ones(tmp_path: Path) -> None:
    """Neither finds any; the second one waits until the first one has written its own."""
    import fcntl

    run = open_run(tmp_path / "run", "build-dataset", Recipe())
    with ThreadPoolExecutor() as pool, open(run.state / "claim-lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        second = pool.submit(run.pin, "pool", {"block": 32})
        time.sleep(0.1)
        assert not second.done()
        write_atomic(run.state / "pool.json", json.dumps({"block": 35}))
        fcntl.flock(file, fcntl.LOCK_UN)
        assert second.result() == run.pinned("pool") == {"block": 35}
    assert run.pin("pool", {"block": 64}) == {"block": 35}


def test_a_killed_process_leaves_no_lock_behind_not_even_in_its_workers(tmp_path: Path) -> None:
    """Forked workers live on for a while after their parent was killed, and have all of its files open."""
    script = f"""
import os, signal, sys, time
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from mmpref.run import directory as run
from tests.test_run import Recipe
with run.open_run(Path({str(tmp_path / "run")!r}), "train", Recipe()).lock():
    if (worker := os.fork()) == 0:
        signal.pause()
    print(worker, flush=True)
    time.sleep(0.2)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    worker = int(process.stdout.readline())
    try:
        assert process.wait() == -signal.SIGKILL
        assert (tmp_path / "run/.mmpref/lock").is_file()
        with open_run(tmp_path / "run", "train", Recipe()).lock():
            pass
    finally:
        os.kill(worker, signal.SIGKILL)
        process.stdout.close()


@pytest.mark.parametrize("jump", [-1e9, 1e9])
def test_a_clock_that_is_set_meanwhile_changes_no_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    real = time.time
    monkeypatch.setattr(run_module, "_HEARTBEAT", 0.01)
    run = open_run(tmp_path / "run", "train", Recipe())
    with run.lock():
        monkeypatch.setattr(time, "time", lambda: real() + jump)
        time.sleep(0.1)
        [(begin, end)] = run._worked()
        assert 0 < end - begin < 60
        run.finish({})
    assert 0.1 <= read_manifest(tmp_path / "run")["seconds"] < 60


def _fail(run: Run, error: BaseException, kept: bool = False) -> None:
    def work() -> None:
        with run.lock(), run.discard_on_failure(lambda: kept, scratch_files=("log",)):
            (run.path / "log").touch()
            raise error

    with pytest.raises(type(error)):
        work()


@pytest.mark.parametrize("error", [RunError("no such model"), ValueError("what is that")])
def test_a_failure_that_left_nothing_claims_no_directory(tmp_path: Path, error: Exception) -> None:
    _fail(open_run(tmp_path / "run", "train", Recipe()), error)
    assert not (tmp_path / "run").exists()
    (tmp_path / "mine").mkdir()
    _fail(open_run(tmp_path / "mine", "train", Recipe()), error)
    assert list((tmp_path / "mine").iterdir()) == [], "a directory that was there stays"
    open_run(tmp_path / "mine", "train", Recipe(seed=1))


def test_what_was_made_or_interrupted_or_is_not_ours_is_kept(tmp_path: Path) -> None:
    for name, error, kept in (("made", RunError("x"), True), ("interrupted", KeyboardInterrupt(), False)):
        _fail(open_run(tmp_path / name, "train", Recipe()), error, kept)
        with pytest.raises(RunError, match="another recipe"):
            open_run(tmp_path / name, "train", Recipe(seed=1))
    run = open_run(tmp_path / "foreign", "train", Recipe())
    (tmp_path / "foreign/thesis.tex").write_text("precious")
    _fail(run, RunError("x"))
    assert {path.name for path in (tmp_path / "foreign").iterdir()} == {".mmpref", "log", "thesis.tex"}


def test_a_directory_is_kept_while_another_process_works_in_it(tmp_path: Path) -> None:
    one, two = (open_run(tmp_path / "run", "build-dataset", Recipe()) for _ in range(2))
    with one.lock("lock-0-of-2"):
        _fail(two, RunError("x"))
        assert one.state.is_dir()
    _fail(one, RunError("x"))
    assert not one.path.exists(), "the last one takes it away"
    with pytest.raises(RunError, match="given up"), two.lock():
        pass


def test_a_lock_on_a_file_that_was_replaced_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = open_run(tmp_path / "run", "train", Recipe())
    flock = run_module._flock

    def replaced_meanwhile(file: Any) -> bool:
        (run.state / "lock").unlink()
        (run.state / "lock").touch()
        return flock(file)

    monkeypatch.setattr(run_module, "_flock", replaced_meanwhile)
    with pytest.raises(RunError, match="given up"), run.lock():
        pass


def test_a_folder_that_may_not_be_written_is_told() -> None:
    """By a process that is not root, who may write everywhere."""
    script = """
import os, sys
from pathlib import Path
from mmpref.errors import RunError
from mmpref.run.directory import open_run
from tests.test_run import Recipe
folder = Path(sys.argv[1])
begun = open_run(folder / "begun", "train", Recipe())
for path in (folder, begun.path, begun.state):
    path.chmod(0o555)
if os.getuid() == 0:
    os.setuid(65534)

def lock():
    with open_run(begun.path, "train", Recipe()).lock():
        pass

for work in (lambda: open_run(folder / "new", "train", Recipe()), lock):
    try:
        work()
    except RunError as error:
        print(error)
"""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        command = [sys.executable, "-c", script, folder]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[1])
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        f"Cannot write {folder}/new (Permission denied). Choose another --output.",
        f"Cannot write {folder}/begun/.mmpref/lock (Permission denied). Choose another --output.",
    ]


@pytest.mark.parametrize("path", ["file/run", "file/deep/run", "/proc/run", "x" * 300, "loop/run"])
def test_a_place_that_cannot_be_is_told(tmp_path: Path, path: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(RunError, match=r"Cannot write .*run|Cannot write .*xxx") as told:
        open_run(tmp_path / path, "train", Recipe())
    assert told.value.hint == "Choose another --output."


def test_the_seconds_of_killed_processes_count_and_the_pause_does_not(tmp_path: Path) -> None:
    script = f"""
import os, signal, sys, time
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from mmpref.run import directory as run
from tests.test_run import Recipe
run._HEARTBEAT = 0.1
one = run.open_run(Path({str(tmp_path / "run")!r}), "train", Recipe())
with one.lock():
    time.sleep(1)
    if sys.argv[1] == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    one.finish({{}})
"""
    for end in ("die", "die", "finish"):
        subprocess.run([sys.executable, "-c", script, end], check=False)
    seconds = read_manifest(tmp_path / "run")["seconds"]
    assert 2.7 < seconds < 3.9, "three seconds of work, without the starts of three processes"


def test_processes_at_the_same_time_count_once() -> None:
    assert run_module._together([(0, 4), (1, 3), (3, 5), (10, 11)]) == 6
    assert run_module._together([]) == 0


def test_unfinished_and_damaged_runs_are_told_apart(tmp_path: Path) -> None:
    open_run(tmp_path / "run", "train", Recipe())
    with pytest.raises(RunError, match="unfinished"):
        read_manifest(tmp_path / "run")
    (tmp_path / "run/run.json").write_text('{"comm')
    with pytest.raises(RunError, match="not JSON"):
        read_manifest(tmp_path / "run")


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    """The limit on file size stands for a full disk; it holds for a process, so one of its own."""
    script = f"""
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from pathlib import Path
from mmpref.errors import RunError
from mmpref.run.directory import write_atomic
path = Path({str(tmp_path / "file")!r})
write_atomic(path, "old")
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_atomic(path, "x" * 5000)
except RunError as error:
    assert "No room on the disk" in str(error), error
else:
    raise SystemExit("no error")
assert path.read_text() == "old"
assert sorted(p.name for p in path.parent.iterdir()) == ["file"]
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, env=os.environ)
    assert done.returncode == 0, done.stderr


def test_what_kills_left_is_gone_from_a_finished_run(tmp_path: Path) -> None:
    run = open_run(tmp_path / "run", "train", Recipe())
    (run.path / "pictures").mkdir()
    for name in (".run.json.77.tmp", ".mmpref/.model.json.123.tmp", "pictures/.pair-1.jpg.5.tmp"):
        (run.path / name).write_text("half a fi")
    (run.path / ".mine.tmp").write_text("somebody's own")
    with run.lock():
        run.finish({})
    (run.state / "worked").mkdir()  # by a kill right after run.json was there
    (run.state / "worked/1.0-77").touch()
    open_run(run.path, "train", Recipe())
    left = {file.relative_to(run.path).as_posix() for file in run.path.rglob("*") if file.is_file()}
    assert left == {".mine.tmp", ".mmpref/claim-lock", ".mmpref/lock", ".mmpref/recipe.json", "run.json"}


def test_processes_of_one_number_write_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two containers share a folder; each has a process 7."""
    flush = os.fsync

    def meanwhile(descriptor: int) -> None:
        monkeypatch.setattr(os, "fsync", flush)
        write_atomic(tmp_path / "answer.json", "the same")
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", meanwhile)
    write_atomic(tmp_path / "answer.json", "the same")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("answer.json", "the same")]


def test_write_atomic_replaces(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a/b.json", json.dumps({"x": 1}))
    write_atomic(tmp_path / "a/b.json", b"2")
    assert (tmp_path / "a/b.json").read_text() == "2"


def _png(size: tuple[int, int] = (4, 4)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGBA", size, "red").save(buffer, "PNG")
    return buffer.getvalue()


def test_images_come_out_as_rgb() -> None:
    assert decode(ImageData(_png())).mode == "RGB"


@pytest.mark.parametrize("content", [b"", b"not an image", _png()[:40], _png((64, 64))[:-30]])
def test_broken_images_are_told(content: bytes) -> None:
    with pytest.raises(ImageError, match=r"x\.png"):
        decode(ImageData(content, "x.png"))


def test_what_is_told_of_an_image_is_the_same_every_time() -> None:
    heic = b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + bytes(64)
    with pytest.raises(ImageError, match=r"^a\.heic is a HEIC image, which is not read\. Save it as JPEG or PNG\.$"):
        decode(ImageData(heic, "a.heic"))
    with pytest.raises(ImageError, match=r"^x\.png cannot be decoded: cannot identify image file\.$"):
        decode(ImageData(b"not an image", "x.png"))


def test_huge_images_are_refused_before_they_are_decoded() -> None:
    with pytest.raises(ImageError, match="1000 x 1000 pixels; at most 10000"):
        decode(ImageData(_png((1000, 1000))), max_pixels=10_000)


def test_paths_stay_under_their_root(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "secret.png").write_bytes(_png())
    (tmp_path / "root/in.png").write_bytes(_png())
    (tmp_path / "root/link.png").symlink_to(tmp_path / "secret.png")
    assert read_under(tmp_path / "root", "in.png").content == _png()
    for path in ("../secret.png", str(tmp_path / "secret.png"), "link.png"):
        with pytest.raises(ImageError, match="leaves its root"):
            read_under(tmp_path / "root", path)


def test_package_paths(tmp_path: Path) -> None:
    assert Path(resolve_path("pkg:mmpref.testbed/model")).is_dir()
    assert resolve_path("org/name") == "org/name"
    for wrong in ("pkg:mmpref.testbed/../errors.py", "pkg:no_such_package/x"):
        with pytest.raises(UsageError, match="names nothing"):
            resolve_path(wrong)
