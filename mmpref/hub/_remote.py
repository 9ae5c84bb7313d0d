"""One repository on the Hub as the publish step sees it: its head and tree, what is to change, the uploads."""

from __future__ import annotations

import fnmatch
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from huggingface_hub import (
    CommitInfo,
    CommitOperationAdd,
    CommitOperationCopy,
    CommitOperationDelete,
    Discussion,
    HfApi,
    hf_hub_url,
)
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

from mmpref.errors import HubError, InputError
from mmpref.hub._calls import Calls, DamagedAnswer
from mmpref.hub._local_files import CARD, LocalFile, digest, local_bytes, local_files
from mmpref.hub.access import RepoType, page_of
from mmpref.hub.cards.merge import merge_cards, of_another_run
from mmpref.hub.other_splits import Change
from mmpref.hub.target import other_content, other_run, run_in
from mmpref.log import logger
from mmpref.run.manifest import MANIFEST
from mmpref.text_files import text_of_bytes

if TYPE_CHECKING:
    import pyarrow as pa

Operation = CommitOperationAdd | CommitOperationCopy | CommitOperationDelete
CardMerger = Callable[[str | None, str], str]
_MAX_PULLS = 20


@dataclass(frozen=True)
class Content:
    """What shall be on the Hub, and how it comes there.

    Args:
        folder: all files below it are published, except those whose path matches a pattern of IGNORE.
        delete_patterns: remote files that match and are not in the folder are deleted in the same commit.
        merge_card: (remote card or None, ours) to the card to write.
        check: looks at the commit before anything is uploaded, and may refuse it.
        guarded: patterns of the data itself: of another run they are replaced only where that is wanted.
        known_by: patterns of the files by which a run is told from others of its recipe.
        goes_with: patterns of remote files that tell of these (results, say): they go where these are another run's.
        run: the recipe hash of the run; without it nothing is guarded.
        replace: it is wanted.
    """

    folder: Path
    commit_message: str
    delete_patterns: Sequence[str] = ()
    merge_card: CardMerger = merge_cards
    check: Callable[[Change], None] | None = None
    guarded: Sequence[str] = ()
    known_by: Sequence[str] = ()
    goes_with: Sequence[str] = ()
    run: str | None = None
    replace: bool = False

    @cached_property
    def files(self) -> Mapping[str, LocalFile]:
        return local_files(self.folder)

    @property
    def digest(self) -> str:
        return digest(list(self.files.values()))

    def over_another_run(self) -> Content:
        """The same, for a repository that holds another run, of which nothing that was told stays."""
        merge = self.merge_card
        content = replace(
            self,
            delete_patterns=(*self.delete_patterns, *self.goes_with),
            merge_card=lambda remote, ours: merge(remote and of_another_run(remote), ours),
        )
        if "files" in self.__dict__:  # hashed once: weights are large
            content.__dict__["files"] = self.files
        return content


@dataclass(frozen=True)
class Plan:
    """What a commit on top of `head` has to do, which has the files `existing`. Empty when nothing is left to do.

    Args:
        over_another_run: `head` holds other files than those by which the content is known.
    """

    head: str
    add: tuple[LocalFile, ...]
    delete: tuple[str, ...]
    existing: Mapping[str, RepoFile] = field(default_factory=dict)
    over_another_run: bool = False

    def __len__(self) -> int:  # an empty plan is falsy
        return len(self.add) + len(self.delete)


def _matches(path: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns)


def _stale(content: Content, existing: Mapping[str, RepoFile]) -> list[str]:
    """What is there of an earlier run, and not in the content."""
    return [path for path in existing if path not in content.files and _matches(path, content.delete_patterns)]


def _holds_others(content: Content, existing: Mapping[str, RepoFile]) -> bool:
    """Whether the files by which the content is known are not those that are there."""
    changed = [path for path, file in content.files.items() if not file.is_same_as(existing.get(path))]
    return any(_matches(path, content.known_by) for path in (*changed, *_stale(content, existing)))


@dataclass(frozen=True)
class Remote:
    """A repository and the calls that reach it."""

    api: HfApi
    calls: Calls
    repo_id: str
    repo_type: RepoType
    token: str

    @property
    def url(self) -> str:
        return page_of(self.api.endpoint, self.repo_id, self.repo_type)

    def plan(self, content: Content, revision: str = "main") -> Plan:
        """Compare `content` with the tree at `revision`, with our card merged into the one there."""
        what = f"read {revision} of the repository"
        info = self.calls.run(
            what, lambda: self.api.repo_info(self.repo_id, repo_type=self.repo_type, revision=revision)
        )
        head = info.sha
        if head is None:
            raise HubError(f"{self.url} has no commit at {revision}.", "Create it anew and publish again.")
        existing = {
            entry.path: entry
            for entry in self.calls.run(
                what,
                lambda: list(
                    self.api.list_repo_tree(self.repo_id, repo_type=self.repo_type, revision=head, recursive=True)
                ),
            )
            if isinstance(entry, RepoFile)
        }
        others = _holds_others(content, existing)
        content = content.over_another_run() if others else content
        files = dict(content.files)
        if CARD in files:
            old_card = self._text(existing[CARD], head) if CARD in existing else None
            files[CARD] = local_bytes(CARD, content.merge_card(old_card, files[CARD].text()).encode())
        add = tuple(file for path, file in files.items() if not file.is_same_as(existing.get(path)))
        return Plan(head, add, tuple(_stale(content, existing)), existing, others)

    def check(self, content: Content, plan: Plan) -> None:
        """Let the content's check look at the commit that the plan makes, and refuse to replace another run's data."""
        if content.check is not None and CARD in content.files:
            content.check(self._change(content, plan))
        if content.run and not content.replace:
            self._refuse_replacing(content, plan)

    def _change(self, content: Content, plan: Plan) -> Change:
        existing, written = set(plan.existing), {file.path for file in plan.add}
        old_card = self._text(plan.existing[CARD], plan.head) if CARD in existing else None
        own_card = content.files[CARD].text()
        return Change(
            self.repo_id,
            tuple(plan.existing),
            (existing | written) - set(plan.delete),
            set(plan.delete) | (written & existing),
            old_card,
            own_card,
            content.merge_card(old_card, own_card),
            lambda path: self._schema(path, plan.head),
        )

    def _refuse_replacing(self, content: Content, plan: Plan) -> None:
        paths = sorted({*plan.delete, *({file.path for file in plan.add} & set(plan.existing))})
        touched = [path for path in paths if _matches(path, content.guarded)]
        held = None
        if touched and MANIFEST in plan.existing:
            held = run_in(self._text(plan.existing[MANIFEST], plan.head))
        if touched and held != content.run:
            raise other_run(self.repo_id, touched[0], held)
        if others := [path for path in touched if _matches(path, content.known_by)]:
            raise other_content(self.repo_id, others[0])

    def _schema(self, path: str, revision: str) -> pa.Schema:
        """The schema of a Parquet file, of which only its end is fetched."""
        import pyarrow as pa
        import pyarrow.parquet as pq
        from huggingface_hub import HfFileSystem

        files = HfFileSystem(endpoint=self.api.endpoint, token=self.token)

        def read() -> pa.Schema:
            prefix = "datasets/" if self.repo_type == "dataset" else ""
            with files.open(f"{prefix}{self.repo_id}@{revision}/{path}", block_size=1 << 16) as opened:
                return pq.read_schema(opened)

        try:
            return self.calls.run(f"read the columns of {path}", read)
        except pa.ArrowException as error:
            raise HubError(f"{path} of {self.repo_id} cannot be read as Parquet: {error}.") from error

    def _headers(self) -> dict[str, str]:
        return build_hf_headers(token=self.token)

    def _text(self, file: RepoFile, revision: str) -> str:
        """What a text file says, whole: a card of which the end is missing would be published without it."""
        address = hf_hub_url(
            self.repo_id, file.path, repo_type=self.repo_type, revision=revision, endpoint=self.api.endpoint
        )

        def read() -> str:
            response = get_session().get(address, headers=self._headers())
            hf_raise_for_status(response)
            if not local_bytes(file.path, response.content).is_same_as(file):
                came, holds = f"{len(response.content):,}", f"{file.size:,}"
                raise DamagedAnswer(f"{came} bytes came, and not the {holds} bytes of {file.path}")
            return text_of_bytes(response.content, f"{file.path} on the Hub")

        return self.calls.run(f"read {file.path}", read)

    def validate(self, card: LocalFile) -> None:
        """Ask the Hub whether it accepts the card, before anything is uploaded.

        Raises:
            InputError: it does not; the message has the Hub's reasons.
        """
        assert isinstance(card.source, bytes)
        body = {"content": card.source.decode(), "repoType": self.repo_type}

        def ask() -> list[str]:
            address = f"{self.api.endpoint}/api/validate-yaml"
            response = get_session().post(address, json=body, headers=self._headers())
            if response.status_code != 400:
                hf_raise_for_status(response)
            return [error["message"] for error in response.json().get("errors", [])]

        if errors := self.calls.run("have the card checked", ask):
            reasons = "; ".join(" ".join(text.split()) for text in errors)
            raise InputError(f"The Hub does not accept the metadata of {CARD}: {reasons}.")

    def operations(self, plan: Plan, revision: str, create_pr: bool) -> list[Operation]:
        """Upload the plan's contents one by one, and return the operations that commit it.

        What the Hub already holds is not sent again: an interrupted push goes on here.
        """
        out: list[Operation] = []
        for number, file in enumerate(plan.add, start=1):
            logger.info("uploading %s (%d of %d, %s bytes)", file.path, number, len(plan.add), f"{file.size:,}")
            operation = file.operation()
            self.calls.run(f"upload {file.path}", lambda op=operation: self._preupload(op, revision, create_pr))  # type: ignore[misc]
            if operation._should_ignore:
                raise HubError(
                    f"The .gitignore of {self.repo_id} keeps {file.path} out.",
                    "Change .gitignore there and publish again.",
                )
            out.append(operation)
        return out + [CommitOperationDelete(path, is_folder=False) for path in plan.delete]

    def commit(self, operations: Sequence[Operation], message: str, parent: str, **options: Any) -> CommitInfo:
        """One commit on a parent. The client's doubt about data files in a model repository is not shown: an
        evaluation's records are meant to be there.

        Args:
            options: as of `HfApi.create_commit`.
        """
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "It seems that you are about to commit a data file")
            return self.api.create_commit(
                self.repo_id,
                operations,
                commit_message=message,
                repo_type=self.repo_type,
                parent_commit=parent,
                **options,
            )

    def _preupload(self, operation: CommitOperationAdd, revision: str, create_pr: bool) -> None:
        # The content stays attached: a commit that is tried again needs it.
        self.api.preupload_lfs_files(
            self.repo_id,
            [operation],
            repo_type=self.repo_type,
            revision=revision,
            create_pr=create_pr,
            free_memory=False,
        )

    def pulls(self, *statuses: str) -> list[Discussion]:
        """The newest pull requests in one of `statuses` (draft, open, closed, merged)."""

        def read() -> list[Discussion]:
            pulls: list[Discussion] = []
            discussions = self.api.get_repo_discussions(
                self.repo_id, repo_type=self.repo_type, discussion_type="pull_request"
            )
            for pull in discussions:
                if pull.status in statuses:
                    pulls.append(pull)
                if len(pulls) == _MAX_PULLS:
                    break
            return pulls

        return self.calls.run("list the pull requests", read)
