"""Trackers of a training (Trackio, Weights & Biases, TensorBoard, MLflow, CodeCarbon): their files stay in the run.

transformers' own callbacks do the writing. They go by environment variables, which are set here as far as the user has
set none; a server that the user names there gets what it would get from any Trainer.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from mmpref.align import emissions
from mmpref.align.report_to import CODECARBON
from mmpref.run.files import write_atomic
from mmpref.text_files import read_text

FOLDER = "trackers"
"""Of a run: a folder for each tracker. It is never published: it knows this machine."""
PROJECT = "mmpref"
_LINKS, _STARTS = "trackers.json", "starts"
_PLACES = {
    "tensorboard": "TENSORBOARD_LOGGING_DIR",
    "trackio": "TRACKIO_DIR",
    "wandb": "WANDB_DIR",
    "mlflow": "MLFLOW_TRACKING_URI",
}
"""The variable that says where each tracker writes."""
_SPACE = "https://huggingface.co/spaces/"


@contextlib.contextmanager
def in_run(names: Sequence[str], folder: Path) -> Iterator[None]:
    """Within it trackers write into a run.

    Args:
        folder: of the run.
    """
    place = folder.resolve() / FOLDER
    wanted = {key: value for name in names for key, value in _variables(name, place).items() if key not in os.environ}
    for name in filter(_writes_here, names):
        (place / name).mkdir(parents=True, exist_ok=True)
    os.environ.update(wanted)
    if "TRACKIO_DIR" in wanted:
        _point_trackio(place / "trackio")
    try:
        yield
    finally:
        for key in wanted:
            os.environ.pop(key, None)
        # Their callbacks end a run with the training, or, as wandb's does, not at all: the next one is another run.
        for name, end in (("wandb", "finish"), ("mlflow", "end_run")):
            if name in names and name in sys.modules:
                getattr(sys.modules[name], end)()


def _writes_here(name: str) -> bool:
    """Whether the user's environment sends a tracker's files to no other place. To be asked outside of `in_run`."""
    return _PLACES.get(name, "") not in os.environ


def _variables(name: str, place: Path) -> dict[str, str]:
    if name in ("tensorboard", "trackio"):
        return {_PLACES[name]: str(place / name)}
    if name == "wandb":
        return {_PLACES[name]: str(place / name), "WANDB_PROJECT": PROJECT, "WANDB_SILENT": "true"}
    if name == CODECARBON:
        return {"CODECARBON_LOG_LEVEL": "error", "CODECARBON_ALLOW_MULTIPLE_RUNS": "true"}
    # Plain MLflow keeps a database; without SQLAlchemy (mlflow-skinny) it has files alone, which it asks leave for.
    database = importlib.util.find_spec("sqlalchemy") is not None
    uri = f"sqlite:///{place / name / 'mlflow.db'}" if database else (place / name).as_uri()
    allowed = {} if database else {"MLFLOW_ALLOW_FILE_STORE": "true"}
    return {_PLACES[name]: uri, "MLFLOW_EXPERIMENT_NAME": PROJECT, **allowed}


def _point_trackio(folder: Path) -> None:
    """Trackio reads its variable when it is imported: a process that trains twice has it from the first run."""
    places = {"TRACKIO_DIR": folder, "MEDIA_DIR": folder / "media", "ARTIFACTS_DIR": folder / "artifacts"}
    for module in [one for name, one in sys.modules.items() if name.partition(".")[0] == "trackio"]:
        for name, place in places.items():
            if isinstance(getattr(module, name, None), Path):
                setattr(module, name, place)


class LinksCallback(TrainerCallback):
    """Notes where each tracker's run can be seen, once they have begun, and how often a training began; stands behind
    their callbacks.

    Args:
        folder: for the notes.
    """

    def __init__(self, names: Sequence[str], folder: Path) -> None:
        self._names, self._folder = names, folder

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            links = {name: _LINK[name]() if name in _LINK else None for name in self._names}
            starts = _notes(self._folder).get(_STARTS, 0) + 1
            write_atomic(self._folder / _LINKS, json.dumps({**links, _STARTS: starts}) + "\n")


def _notes(folder: Path) -> dict[str, Any]:
    file = folder / _LINKS
    notes: dict[str, Any] = json.loads(read_text(file)) if file.is_file() else {}
    return notes


def facts(names: Sequence[str], folder: Path, run: Path, output: Path) -> list[dict[str, Any]]:
    """What the manifest says of a run's trackers: name, folder in the run (None where the user's environment sends the
    files elsewhere), and address, where it is on a server; of CodeCarbon also ``emissions``. To be asked outside of
    `in_run`.

    Args:
        folder: that has the notes.
        run: the run's.
        output: the trainer's, where CodeCarbon leaves its file.
    """
    notes = _notes(folder)
    found: list[dict[str, Any]] = [
        {"name": name, "path": f"{FOLDER}/{name}" if _writes_here(name) else None, "url": notes.get(name)}
        for name in names
    ]
    for entry in (entry for entry in found if entry["name"] == CODECARBON):
        entry["emissions"] = emissions.emissions_of(output / emissions.FILE, notes.get(_STARTS, 0))
        if entry["emissions"]:
            shutil.copy(output / emissions.FILE, run / FOLDER / CODECARBON / emissions.FILE)
    return found


def _trackio_link() -> str | None:
    import trackio

    space = trackio.context_vars.current_space_id.get()
    return _SPACE + space if space else None


def _wandb_link() -> str | None:
    import wandb

    return wandb.run.url if wandb.run is not None and not wandb.run.offline else None


def _mlflow_link() -> str | None:
    import mlflow

    uri, run = mlflow.get_tracking_uri(), mlflow.active_run()
    if run is None or not uri.startswith(("http://", "https://")):
        return None
    uri = re.sub("//[^/@]*@", "//", uri)  # a password belongs into no run
    return f"{uri.rstrip('/')}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"


_LINK: dict[str, Callable[[], str | None]] = {
    "trackio": _trackio_link,
    "wandb": _wandb_link,
    "mlflow": _mlflow_link,
}
