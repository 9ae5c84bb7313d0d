"""`mmpref.inspect` of a model alone: where its hallucinations come from, on rows of the caller's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from math import isnan
from typing import TYPE_CHECKING, Any

from mmpref.api.models import model_ref, named_model
from mmpref.api.options import NameOrPath, as_spec, as_specs, refuse_no_rows
from mmpref.api.progress import Progress, library_bars
from mmpref.api.state import process_restored
from mmpref.api.table_repr import TableRepr
from mmpref.data.row_facts import objects_of
from mmpref.errors import InputError, ModelError, UsageError
from mmpref.log import counted
from mmpref.recipes.resolve import TESTBED, load
from mmpref.run.results_text import interval_text

if TYPE_CHECKING:
    from mmpref.bench.hallucination_sources import Sources
    from mmpref.tables.table import Table
    from mmpref.types import Example
    from mmpref.vlm.policy import Policy

_PROMPT = "Please describe this image in detail."
"""Asked of rows that have objects and no prompt, as `mmpref.bench.benchmarks.chair` asks."""
_MAX_NEW_TOKENS = 256
_GIST_TOKENS = 4
_SEED = 0
_BLOCK = 8
_READ_FOR_ONE = 8
"""Rows that are read for each that is asked for, before all are: most tables tell early, and may be long."""
_TEXTS = {"own": "as it was", "other": "another row's", "dropped": "dropped"}
_IMAGES = {"shown": "seen", "gist": "a few tokens of it", "hidden": "hidden"}


@dataclass(frozen=True, repr=False)
class Diagnosis(TableRepr):
    """Where a model's hallucinations come from.

    Args:
        model: its name.
        source: the rows'.
        sources: what was measured.
        vocabulary: which words were looked for.
    """

    model: str
    source: str
    sources: Sources
    vocabulary: str

    @property
    def title(self) -> str:  # type: ignore[override]
        return f"hallucinated words that {self.model} still says"

    @property
    def report(self) -> Mapping[str, Any]:
        """JSON-ready."""
        return {"model": self.model, "source": self.source, **self.sources.as_plain()}

    def table(self) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
        rows = [
            (
                _TEXTS[cell.text],
                _IMAGES[cell.image],
                interval_text(*cell.survive, digits=2),
                interval_text(*cell.log_prob, signed=True, digits=2),
            )
            for cell in self.sources.cells
        ]
        return ("text before", "image", "share", "log-probability"), rows

    def remarks(self) -> Sequence[str]:
        from mmpref.bench.hallucination_sources import TESTED

        found = self.sources
        counts = (
            f"{counted(found.rows, 'answer names', 'answers name')} {counted(found.names, 'thing')}, "
            f"{found.hallucinated} of them hallucinated by reference; {counted(found.measured, 'was', 'were')} "
            f"measured, with {counted(found.gist_tokens, 'image token')} as the gist."
        )
        if not found.names:
            hint = "give more rows, or a table of the words that this model uses (--synonyms)"
            return [counts, f"No answer names any of {self.vocabulary}: {hint}."]
        vocabulary = f"Looked for: {self.vocabulary}; --synonyms names others."
        left_out = [f"Not measured: {count} {reason}." for reason, count in found.left_out.items()]
        return [counts, vocabulary, *left_out, *_added(found), found.words, TESTED]


def _added(found: Sources) -> Iterator[str]:
    if found.gist is None or found.text is None or found.rest is None:
        return
    added = (found.gist, found.text, found.rest)
    gist, text, rest = (interval_text(*value, signed=True, digits=2) for value in added)
    share = found.gist_share
    shared = "" if share is None or isnan(share.value) else f" The gist's share: {interval_text(*share, digits=2)}."
    yield (
        f"The gist makes them likelier by {gist} nats, the text before by {text}; the rest of the image adds {rest}."
        f"{shared}"
    )


def diagnose(
    model: Any,
    source: Any,
    *,
    rows: int,
    adapter: NameOrPath | None = None,
    adapter_revision: str | None = None,
    synonyms: NameOrPath | None = None,
    split: str | None = None,
    revision: str | None = None,
    image_root: NameOrPath | Sequence[NameOrPath] | None = None,
    columns: Mapping[str, str] | None = None,
    progress: bool = True,
) -> Diagnosis:
    """Let the model answer, and ask where the hallucinated words of its answers come from.

    Args:
        source: rows with a reference answer of two sentences or more, or with the image's objects; None for the
            testbed's, if the model is the testbed's.
        rows: so many of these at most.
        adapter: of the model, on.
        synonyms: table of objects and words.
        columns: what the rows call their parts.

    Raises:
        UsageError: no source, or columns that nothing reads.
        InputError: no row that can be used, or a column that is not there.
        ModelError: a model that cannot be loaded, or has no image tokens.
    """
    from mmpref.bench.hallucination_sources import summarise
    from mmpref.bench.mentions import by_references, by_synonyms, hallucinated
    from mmpref.data.pictures import Pictures
    from mmpref.judges.served import refuse_served
    from mmpref.registry import resolve_path
    from mmpref.sampling.bias_probe import greedy_answers, probe
    from mmpref.synonyms import Synonyms
    from mmpref.vlm.decoding import Decoding
    from mmpref.vlm.load import load_policy

    refuse_served(model, "this hides its image tokens and reads its log-probabilities")
    options = {"model": model, "adapter": adapter, "adapter_revision": adapter_revision}
    with process_restored(), library_bars(progress), named_model(options, adapters=True) as settings:
        ref = model_ref(settings)
        if source is None:
            source, synonyms = _testbed(ref.model, synonyms)
        refuse_no_rows("source", source)
        table, examples = _examples(
            as_spec(source, own_paths=not image_root), rows, split, revision, as_specs(image_root), columns
        )
        objects, pictures = _objects(table, examples), Pictures().groups(examples)
        find = (
            by_synonyms(Synonyms.read(resolve_path(str(synonyms))))
            if synonyms is not None
            else by_references(_by_picture(examples, pictures))
        )
        policy = load_policy(ref)
        _refuse_blind(policy, examples[0])
        decoding, answers = Decoding(_MAX_NEW_TOKENS), []
        with Progress("answers", watched=progress) as bar:
            for start in range(0, len(examples), _BLOCK):
                answers += greedy_answers(policy, examples[start : start + _BLOCK], decoding)
                bar.reach(len(answers), len(examples))
        found = [
            hallucinated(find, answer, example.answer, objects[example.id])
            for answer, example in zip(answers, examples, strict=True)
        ]
        wrong = [mentions for mentions, _ in found]
        probed = []
        with Progress("words", watched=progress) as bar:
            for one in probe(policy, examples, answers, wrong, pictures, _SEED, _GIST_TOKENS):
                probed.append(one)
                bar.reach(len(probed), sum(map(len, wrong)))
        ids, named = [example.id for example in examples], sum(count for _, count in found)
        sources = summarise(probed, ids, pictures, named, sum(map(len, wrong)), _GIST_TOKENS)
        return Diagnosis(str(policy.ref), table.name, sources, _vocabulary(synonyms))


def _testbed(model: str, synonyms: NameOrPath | None) -> tuple[str, NameOrPath]:
    """The testbed's rows and its words, for the testbed's model.

    Raises:
        UsageError: another model.
    """
    recipe = load(TESTBED)
    if model != recipe["build-dataset"]["model"]:
        raise UsageError(f"There are no rows to ask {model} about.", "Name rows with --source.")
    return recipe["build-dataset"]["source"], synonyms or recipe["evaluate"]["benchmark"]["chair"]["synonyms"]


def _vocabulary(synonyms: NameOrPath | None) -> str:
    if synonyms is not None:
        return f"the objects of {synonyms}"
    return "the content words of the references (of three pictures or more, and of half of them at most)"


def _examples(
    spec: str,
    rows: int,
    split: str | None,
    revision: str | None,
    image_root: Sequence[str],
    columns: Mapping[str, str] | None = None,
) -> tuple[Table, list[Example]]:
    """The first rows that can tell: whose reference has two sentences, or that name objects to be described."""
    from mmpref.data.sources import Source
    from mmpref.sampling.sentences import split as sentences
    from mmpref.tables.columns import own_columns
    from mmpref.tables.open import open_table, refuse_split
    from mmpref.types import Example

    refuse_split(spec, split or "train")
    [table] = own_columns([open_table(spec, split, revision=revision)], columns)
    examples: list[Example] = []
    for limit in (_READ_FOR_ONE * rows, None):
        source = Source(table, image_root, limit, _read)
        found = (row for _, block in source.blocks(_BLOCK, lambda _: True) for row in block)
        usable = (row for row in found if isinstance(row, Example))
        told = (row for row in usable if row.prompt[-1].content == _PROMPT or len(sentences(row.answer)) > 1)
        examples = list(islice(told, rows))
        if len(examples) == rows or (limit and len(source) < limit):
            break
    if not examples:
        raise InputError(
            f"No row of {table.name} has a reference answer of two sentences, or objects.",
            "Give rows with long captions, or with objects.",
        )
    return table, examples


def _read(raw: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Rows as they are; those that have objects and no answer are asked for a description."""
    from mmpref.tables.headings import unfolded

    row = unfolded(raw)
    objects = objects_of(row)
    if objects and not {"answer", "completion", "chosen", "messages", "conversations", "caption"} & row.keys():
        kept = {name: row[name] for name in ("id", "image", "images") if name in row}
        yield {**kept, "question": _PROMPT, "answer": ", ".join(objects)}
    else:
        yield row


def _objects(table: Table, examples: Sequence[Example]) -> dict[str, list[str]]:
    """By an example's id, the objects that its raw row names."""
    from mmpref.tables.headings import unfolded

    rows = {int(example.source_id.rpartition("/")[2]): example.id for example in examples}
    raw = enumerate(islice(table, max(rows) + 1))
    return {rows[number]: [*(objects_of(unfolded(row)) or ())] for number, row in raw if number in rows}


def _by_picture(examples: Sequence[Example], pictures: Sequence[int]) -> list[str]:
    """The reference answers, those about one picture as one text."""
    texts: dict[int, list[str]] = {}
    for example, picture in zip(examples, pictures, strict=True):
        texts.setdefault(picture, []).append(example.answer)
    return [" ".join(of_one) for of_one in texts.values()]


def _refuse_blind(policy: Policy, example: Example) -> None:
    inputs = policy.prompter(example)
    if not bool((inputs["input_ids"] == policy.image_token_id).any()):
        raise ModelError(f"{policy.ref} takes no image tokens: there is nothing to hide.")
