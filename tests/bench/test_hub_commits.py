"""What has new commits on the Hub: a run keeps to those that it began with, and says so."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mmpref.registry import resolve_path
from tests import bare
from tests.hub_fixtures import HubAccount

from .conftest import MODEL, png, pope_row

COMMITTED = """
import json, logging, sys
from pathlib import Path
from huggingface_hub import HfApi
from mmpref.bench.evaluate import evaluate
from mmpref.bench.recipe import EvaluateRecipe
from mmpref.log import logger

owner, base, adapter, rows, folder = sys.argv[1:]
logger.addHandler(logging.StreamHandler())
api, run = HfApi(), Path(folder) / "run"
repos = {f"{owner}/vlm": (base, "model"), f"{owner}/vlm-bdhs": (adapter, "model"), f"{owner}/pope": (rows, "dataset")}
for repo, (content, kind) in repos.items():
    api.create_repo(repo, repo_type=kind)
    api.upload_folder(repo_id=repo, folder_path=content, repo_type=kind)
settings = {"pope": {"data": f"{owner}/pope", "max_new_tokens": 4}}
recipe = EvaluateRecipe(f"{owner}/vlm", ("pope",), adapter=f"{owner}/vlm-bdhs", benchmark=settings)
made = [evaluate(recipe, run)]
for repo, (_, kind) in repos.items():
    api.upload_file(repo_id=repo, path_in_repo="README.md", path_or_fileobj=b"# Said better", repo_type=kind)
made.append(evaluate(recipe, run))
(run / "run.json").unlink()
(run / ".mmpref/answers-adapter-pope.jsonl").unlink()
made.append(evaluate(recipe, run))
made.append(evaluate(recipe, Path(folder) / "anew"))
for one in made:
    commits = [facts["revision"] for facts in (one["model"], one["adapter"], one["data"]["pope"])]
    print(json.dumps([commits, [{**row, "data": None} for row in one["results"]]]))
"""


def test_an_evaluation_keeps_to_the_commits_that_it_began_with(
    hub: HubAccount, hub_env: dict[str, str], adapter: Path, tmp_path: Path
) -> None:
    buffer = io.BytesIO()
    rows = [pope_row(number, {"bytes": png(colour), "path": None}) for number, colour in enumerate(("red", "blue"))]
    pq.write_table(pa.Table.from_pylist(rows), buffer)
    (tmp_path / "pope/data").mkdir(parents=True)
    (tmp_path / "pope/data/test-00000-of-00001.parquet").write_bytes(buffer.getvalue())
    folders = [resolve_path(MODEL), str(adapter), str(tmp_path / "pope"), str(tmp_path)]
    env = hub_env | {"HF_HUB_ETAG_TIMEOUT": "60"}
    done = bare.python(COMMITTED, hub.name, *folders, environment=env)
    assert done.returncode == 0, done.stderr
    first, again, gone_on, anew = (json.loads(line) for line in done.stdout.splitlines())
    assert first == again == gone_on
    assert not set(anew[0]) & set(first[0]), "another run takes what is there now"
    assert anew[1] == first[1]
    for name in ("vlm", "vlm-bdhs"):
        said = f"{hub.name}/{name} has new commits since {tmp_path}/run was begun"
        assert done.stderr.count(said) == 2
