"""What the results of a benchmark are results of: which data, how many of them, and how they were asked.

Only the data that a benchmark was published with, at a commit, all of them and asked as published, bear its name.
Whatever else is scored by its rule goes by the name of its own data.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from mmpref.hub_ids import is_commit, is_hub_id
from mmpref.local_paths import is_data_file

IN_MEMORY = "rows in memory"
"""What manifests and cards call tables of rows in memory."""

DEFAULT_CONFIG = "default"
"""What the Hub calls the configuration of a dataset that has none of a name."""
TRAINED_ON = "(trained on)"
"""Stands behind a verdict on images that the adapter was trained on."""
TRAINED_ON_MEANS = (
    f"{TRAINED_ON}: some or all of the images are of the adapter's training, and it says little of others."
)
CHOSEN_ON = "(step chosen on)"
"""Stands behind a verdict on data by which the step that is kept of the adapter was chosen."""
_MEANINGS = {
    TRAINED_ON: TRAINED_ON_MEANS,
    CHOSEN_ON: f"{CHOSEN_ON}: the step that is kept of the adapter was chosen on these data, and its values there are "
    "too good.",
}

Marks = tuple[str, ...]
"""What stands behind a verdict that says little of other data."""
_LATER = ("served", "rows", "remarks", "parts", "trained_on")
"""Fields that files have only where they are not the default."""


@dataclass(frozen=True)
class Asked:
    """The questions of one benchmark.

    Args:
        benchmark: whose rule scores the answers.
        label: what its results are called in the run: the benchmark, and the control where it is one.
        official: these are the benchmark's published data at a commit, all of them, under its published settings.
        data: facts of the table: id, split, revision, fingerprint, licence.
        questions, images: how many; 0 where a run did not record it.
        samples: ``sha256:...`` of the questions with their images; "" where a run did not record it.
        changed: settings that are not the benchmark's published ones; None where a run did not record them.
        hallucination: the benchmark measures what an answer says that its image does not show.
        chose: ``step`` and ``metric``: the step that is kept of the adapter was chosen by this metric on these data;
            ``shared``: on so many of the questions, where the run recorded which chose.
        served: what a server calls the models (``base``, ``adapter``) that answered; None where they were loaded here.
        rows: which questions, of data that are watched while training (`mmpref.bench.chosen_on.row_digests`); else "".
        remarks: what must be said of the data wherever results are shown.
        parts: part -> how many ``questions`` and ``images`` it has; None where a run did not record it.
        trained_on: how many of the images are among those that the adapter was trained on.
    """

    benchmark: str
    label: str
    official: bool = False
    data: Mapping[str, Any] = field(default_factory=dict)
    questions: int = 0
    images: int = 0
    samples: str = ""
    changed: Mapping[str, Any] | None = None
    hallucination: bool = False
    chose: Mapping[str, Any] | None = None
    served: Mapping[str, str] | None = None
    rows: str = ""
    remarks: tuple[str, ...] = ()
    parts: Mapping[str, Mapping[str, int]] | None = None
    trained_on: int = 0

    @property
    def own_name(self) -> str:
        """What the data are called: a Hub id, the name of a table, or of a file without its folder."""
        name = str(self.data.get("id") or "")
        whole = is_hub_id(name) and is_commit(self.data.get("revision"))
        return name if whole else name.removeprefix("pkg:").rstrip("/\\").replace("\\", "/").split("/")[-1]

    @property
    def split(self) -> str | None:
        """The split; None of a file or of rows in memory, which have none, whichever was asked for."""
        name = self.own_name
        is_file = "/" not in name and is_data_file(name)
        return None if is_file or name == IN_MEMORY else self.data.get("split")

    @property
    def which(self) -> str:
        """The data with their split, as ``NAME:SPLIT``, or ``NAME (CONFIG):SPLIT`` where the configuration is another
        than the benchmark's published one; their name alone where they have none."""
        name, split = self.own_name, self.split
        changed = self.changed or {}
        if name and (changed.get("config") or ("config" in changed and "/" in name)):  # other tables have none
            name += f" ({changed['config'] or DEFAULT_CONFIG})"
        return f"{name}:{split}" if name and split else name

    @property
    def title(self) -> str:
        """What tables call the benchmark."""
        return self.label if self.official else f"{self.which or 'data not recorded'}, scored like {self.label}"

    @property
    def revision(self) -> str:
        """The commit of the data, or the hash of their content."""
        return str(self.data.get("revision") or self.data.get("fingerprint") or self.samples or "not recorded")

    @property
    def marks(self) -> Marks:
        """What stands behind verdicts on the adapter."""
        found = {TRAINED_ON: self.trained_on, CHOSEN_ON: self.chose}
        return tuple(mark for mark, is_so in found.items() if is_so)

    def marked(self, verdict: str) -> str:
        """A verdict as it is shown."""
        return marked(verdict, self.marks)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Asked:
        """As `as_dict` gives it; keys that are unknown are ignored.

        Raises:
            TypeError: it is none.
        """
        names = {column.name for column in fields(cls)}
        known = {name: value for name, value in content.items() if name in names}
        asked = cls(**{**known, "remarks": tuple(map(str, content.get("remarks") or ()))})
        if not isinstance(asked.data, Mapping) or not isinstance(asked.changed, Mapping | None):
            raise TypeError(f"{asked.label} is of the data {asked.data!r}, changed by {asked.changed!r}")
        return asked

    def as_dict(self) -> dict[str, Any]:
        """As it stands in files."""
        default = {column.name: column.default for column in fields(self) if column.name in _LATER}
        return {name: value for name, value in asdict(self).items() if name not in default or value != default[name]}


def marked(verdict: str, marks: Marks) -> str:
    """A verdict as it is shown; nothing where there is none."""
    return " ".join((verdict, *marks)) if verdict else verdict


def every_mark(groups: Iterable[Marks]) -> Marks:
    """Those of several models, each once."""
    found = {mark for marks in groups for mark in marks}
    return tuple(mark for mark in _MEANINGS if mark in found)


def meanings(groups: Iterable[Marks]) -> str:
    """What the marks that are shown mean, as sentences behind a legend; nothing where there are none."""
    return "".join(f" {_MEANINGS[mark]}" for mark in every_mark(groups))
