"""Run directories and untrusted images."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from mmpref.errors import ImageError, RunError, UsageError
from mmpref.images import decode, read_under
from mmpref.registry import resolve_path
from mmpref.run import open_run, read_manifest, write_atomic
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
from mmpref.run import write_atomic
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
