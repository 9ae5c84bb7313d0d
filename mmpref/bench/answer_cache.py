"""Answers that runs share: with ``MMPREF_ANSWERS=FOLDER`` a base is asked once, however many adapters are beside it.

Judges' replies are shared by all runs anyway (`mmpref.judges.reply_cache`). A model's answers are so where the user
wants it: under a hash of all that decides an answer, which is greedy: the weights and their processor, the adapter's
weights and configuration, type, quantization, devices and threads of the arithmetic, whether the model's own code
runs, versions of the libraries, how images are kept from the model, the markers of reasoning, the limit, the prompt and
the images' bytes. In half precision an answer depends a little on what is asked beside it, as without shared answers.
Each answer is a small file, written whole or not at all, so that any number of processes may share the folder. A served
model is not cached: its name is all that is known of it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Any

from mmpref.bench.answers import Answerer
from mmpref.bench.benchmark import Sample
from mmpref.bench.cells import images_digest
from mmpref.bench.local_answerer import LocalAnswerer
from mmpref.bench.recipe import EvaluateRecipe
from mmpref.errors import MmprefError
from mmpref.hub_ids import is_commit
from mmpref.log import logger
from mmpref.run.files import OTHER_OUTPUT, write_atomic
from mmpref.run.manifest import versions_of
from mmpref.run.results import ADAPTER, BASE
from mmpref.types import as_dicts

FOLDER = "MMPREF_ANSWERS"
"""Environment variable: the folder of the shared answers; without it there are none."""


_LIBRARIES = (
    *("mmpref", "torch", "torchvision", "transformers", "tokenizers", "peft", "accelerate", "pillow"),
    *("bitsandbytes", "flash-attn"),
)
"""What loads, quantizes and computes, and what makes pixels and tokens; of those that are installed."""


class CachedAnswerer:
    """An answerer that is asked only what no run has asked of the same model. It does not work ahead.

    Args:
        folder: of the answers.
        facts: model (``base``, ``adapter``) -> what decides its answers, beside what is asked.
    """

    def __init__(self, answerer: LocalAnswerer, folder: Path, facts: Mapping[str, Mapping[str, Any]]) -> None:
        self._answerer, self._folder, self._facts = answerer, folder, facts

    def close(self) -> None:
        """End what works ahead."""
        self._answerer.close()

    def __call__(
        self, samples: Sequence[Sample], max_new_tokens: int, models: Sequence[str]
    ) -> Mapping[str, list[str | MmprefError]]:
        files = {model: [self._file(sample, max_new_tokens, model) for sample in samples] for model in models}
        answers: dict[str, list[str | MmprefError | None]] = {
            model: [_read(file) for file in files[model]] for model in models
        }
        lacking: dict[tuple[str, ...], list[int]] = {}
        for row in range(len(samples)):
            if missing := tuple(model for model in models if answers[model][row] is None):
                lacking.setdefault(missing, []).append(row)
        for missing, rows in lacking.items():
            asked = self._answerer([samples[row] for row in rows], max_new_tokens, missing)
            for model in missing:
                for row, reply in zip(rows, asked[model], strict=True):
                    answers[model][row] = reply
                    if isinstance(reply, str):  # what has no answer is asked again
                        self._keep(files[model][row], reply)
        return {model: [one for one in own if one is not None] for model, own in answers.items()}

    def _keep(self, file: Path, reply: str) -> None:
        hint = f"Set {FOLDER} to a folder that can be written." if os.environ.get(FOLDER) else OTHER_OUTPUT
        write_atomic(file, json.dumps({"answer": reply}, ensure_ascii=False) + "\n", hint)

    def _file(self, sample: Sample, max_new_tokens: int, model: str) -> Path:
        image = images_digest(sample.images).hex() if sample.images else None
        asked = {"messages": as_dicts(sample.messages), "image": image, "max_new_tokens": max_new_tokens}
        text = json.dumps({**self._facts[model], **asked}, sort_keys=True, ensure_ascii=False)
        name = hashlib.sha256(text.encode()).hexdigest()
        return self._folder / name[:2] / f"{name}.json"


_own: ContextVar[Path | None] = ContextVar("_own", default=None)
"""Where answers are shared that no user wants to keep."""


@contextlib.contextmanager
def share_in(folder: Path) -> Iterator[None]:
    """Within it evaluations share their answers in this folder, unless the user has named one; a base that several of
    them are of is asked once. Who asks removes the folder."""
    token = _own.set(folder)
    try:
        yield
    finally:
        _own.reset(token)


def shared(answerer: LocalAnswerer, recipe: EvaluateRecipe, identity: Mapping[str, Any]) -> Answerer:
    """The answerer behind the shared answers, where there are any and it is known what the model is.

    Args:
        identity: of model and adapter, as `mmpref.bench.identity.pin_identity` has it.
    """
    wanted, weights = os.environ.get(FOLDER), _weights(identity["model"])
    folder = Path(wanted).expanduser() if wanted else _own.get()
    if not folder:
        return answerer
    if weights is None:
        if wanted:
            logger.warning("Warning: which weights %s has is not known, so its answers are not shared.", recipe.model)
        return answerer
    facts = {
        "model": weights,
        "dtype": recipe.dtype,
        "quantization": recipe.quantization,
        "device": _devices(recipe.device_map is not None),
        "device_map": recipe.device_map,
        "trust_remote_code": recipe.trust_remote_code,
        "blind": recipe.blind,
        "thinking": list(recipe.thinking),
        "versions": versions_of(_LIBRARIES),
    }
    adapter = {name: value for name, value in (identity["adapter"] or {}).items() if name != "id"}
    return CachedAnswerer(answerer, folder, {BASE: {**facts, "adapter": None}, ADAPTER: {**facts, "adapter": adapter}})


def _weights(model: Mapping[str, Any]) -> str | None:
    """A hash of the model's files, or its commit; None where neither is known."""
    if model.get("files"):
        return str(model["files"])
    return f"{model['id']}@{model['revision']}" if is_commit(model.get("revision")) else None


def _devices(spread: bool) -> list[str]:
    """What computes: another processor rounds otherwise, and on a CPU another number of threads adds in another order.

    Args:
        spread: whether the model may lie on all devices, and on the CPU beside them.
    """
    import torch

    names = []
    if torch.cuda.is_available():
        used = range(torch.cuda.device_count()) if spread else [torch.cuda.current_device()]
        names = [f"{torch.cuda.get_device_name(one)}, sm {torch.cuda.get_device_capability(one)}" for one in used]
    if spread or not names:
        kind = f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
        names.append(f"cpu {_cpu_name()}, {kind}, {torch.get_num_threads()} threads")
    return names


@cache
def _cpu_name() -> str:
    """The processor, as Linux calls it; what Python knows of it elsewhere."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def _read(file: Path) -> str | None:
    """A kept answer; None where there is none, or the file is damaged (it is then asked and written anew)."""
    try:
        return str(json.loads(file.read_text(encoding="utf-8"))["answer"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
