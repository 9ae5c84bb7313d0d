"""Steps of few shapes write the tokens of plain ones, can be compiled whole, and replayed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from mmpref.errors import UsageError
from mmpref.types import Message
from mmpref.vlm import static_step
from mmpref.vlm.branches import Branch
from mmpref.vlm.decoding import Decoding
from mmpref.vlm.encode import encode
from mmpref.vlm.generate import decode
from mmpref.vlm.policy import Policy
from mmpref.vlm.row_cache import Buckets
from mmpref.vlm.shared_prefix_pool import SharedPrefixPool
from mmpref.vlm.static_step import StaticStep, StepInputs, choose, run
from tests.vlm.test_families import picture, policy_of
from tests.vlm.waiting import refused

FAMILIES = pytest.mark.parametrize("name", ["llava_next", "llava_mistral_sliding", "qwen2_vl", "gemma3"])
"""Causal, with a window, with positions of three axes, with layers of two kinds."""
WIDTH = 5


def branches_of(policy: Policy) -> list[Branch]:
    """Of texts so different in length that buffers grow, and more than there are rows."""
    questions = ("describe the picture .", "describe the picture ." + " w1" * 90)
    prompts = [policy.prompter.prepare([Message("user", text)], [picture(n)]) for n, text in enumerate(questions)]
    seen = [prompt.drop(torch.arange(prompt.image_tokens) % 3 == 0, "original") for prompt in encode(policy, prompts)]
    prefixes = [(), (10, 11), (10, 12, 13), (14,)]
    return [Branch(prompt, prefix, (number,)) for number, prompt in enumerate(seen) for prefix in prefixes]


@pytest.fixture
def shapes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Of the steps that are run."""
    seen: list[tuple[int, int]] = []
    step = StaticStep._step

    def note(self: StaticStep, inputs: StepInputs, buffers: Any) -> torch.Tensor:
        rows, slots = inputs.shape
        assert inputs.embeds.shape[:2] == inputs.slots.shape == (rows, 1)
        assert inputs.positions.shape[-2:] == (rows, 1)
        assert {tensor.shape[0] for pair in buffers for tensor in pair} == {rows}
        assert {tensor.shape[2] for pair in buffers for tensor in pair} == {slots}
        seen.append((rows, slots))
        return step(self, inputs, buffers)

    monkeypatch.setattr(StaticStep, "_step", note)
    return seen


@pytest.fixture
def stepping(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., list[list[int]]]]:
    """Decodes by a kind of step."""

    def decoded(policy: Policy, decoding: Decoding, **how: Any) -> list[list[int]]:
        make = static_step.static_step
        with monkeypatch.context() as patch:
            patch.setattr(policy, "steps", "static")
            if how:
                patch.setattr(
                    "mmpref.vlm.shared_prefix_pool.static_step",
                    lambda policy, attention: StaticStep(policy.decoder, attention, **{"record": None, **how}),
                )
            assert make(policy, None) is not None  # type: ignore[arg-type]
            return decode(policy, branches_of(policy), decoding, width=WIDTH)

    return decoded


@FAMILIES
@pytest.mark.parametrize("greedy", [True, False], ids=["greedy", "sampled"])
def test_steps_of_few_shapes_write_the_same_tokens(
    name: str, greedy: bool, shapes: list[tuple[int, int]], stepping: Callable[..., list[list[int]]]
) -> None:
    policy = policy_of(name)
    decoding = Decoding(12, greedy, 1.0 if greedy else 0.7)
    expected = decode(policy, branches_of(policy), decoding, width=WIDTH)
    assert not shapes
    assert stepping(policy, decoding) == expected
    buckets = Buckets(WIDTH)
    rows, slots = ({shape[axis] for shape in shapes} for axis in (0, 1))
    assert rows <= {1, 2, 4, 5}
    assert all(buckets.slots(size) == size for size in slots)
    assert len(slots) > 1
    assert len(shapes) > 2 * len(set(shapes))
    assert len(set(shapes)) <= 4 * len(slots)


@pytest.mark.parametrize("most", [1, 5, 64])
def test_buckets_are_few_and_little_is_filled_up(most: int) -> None:
    buckets = Buckets(most)
    assert {buckets.rows(rows) for rows in range(1, most + 1)} == {
        min(most, 2**power) for power in range((most - 1).bit_length() + 1)
    }
    sizes = [buckets.slots(slots) for slots in range(1, 4097)]
    assert len(set(sizes)) == 1 + 4 * 6
    assert all(need <= size <= max(64, 1.25 * need) for need, size in enumerate(sizes, 1))
    assert all(buckets.slots(size) == size for size in sizes)


@pytest.mark.parametrize("name", ["llava_next", "gemma3"])
def test_a_step_compiles_whole_and_once_a_bucket(
    name: str, shapes: list[tuple[int, int]], stepping: Callable[..., list[list[int]]]
) -> None:
    policy, decoding = policy_of(name), Decoding(3)  # two steps of a bucket: to compile one takes seconds
    expected = decode(policy, branches_of(policy), decoding, width=WIDTH)
    compiled: list[int] = []

    def backend(module: torch.fx.GraphModule, _inputs: Any) -> Any:
        compiled.append(len(module.graph.nodes))
        return module.forward

    torch._dynamo.reset()
    with torch._dynamo.config.patch(recompile_limit=64):  # what is needed is counted here
        whole = torch.compile(run, fullgraph=True, dynamic=False, backend=backend)
        assert stepping(policy, decoding, run_step=whole) == expected
    assert 1 < len(compiled) <= len(set(shapes)) < len(shapes)


class Recorder:
    """Recorded steps without a GPU: a replay reads nothing but the tensors that were there when it was recorded."""

    def __init__(self) -> None:
        self.records = self.replays = 0

    def __call__(self, step: Callable[[], torch.Tensor]) -> Callable[[], torch.Tensor]:
        self.records += 1
        with refused():
            step()

        def replay() -> torch.Tensor:
            self.replays += 1
            with refused():
                return step()

        return replay


@pytest.mark.parametrize("name", ["llava_next", "gemma3"])
def test_recorded_steps_are_replayed_on_new_inputs_until_buffers_change(
    name: str, shapes: list[tuple[int, int]], stepping: Callable[..., list[list[int]]]
) -> None:
    policy, decoding, recorder = policy_of(name), Decoding(12), Recorder()
    expected = decode(policy, branches_of(policy), decoding, width=WIDTH)
    assert stepping(policy, decoding, record=recorder) == expected
    assert 0 < recorder.records <= len(set(shapes))
    assert recorder.replays == len(shapes) - sum(min(shapes.count(shape), static_step.WARM) for shape in set(shapes))


def test_what_was_recorded_in_other_buffers_is_not_replayed(
    shapes: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that enter make the buffers larger; once they have left, shapes are those of before."""
    policy, decoding, recorder = policy_of("llava_next"), Decoding(14), Recorder()
    [whole] = encode(policy, [policy.prompter.prepare([Message("user", "w1 .")], [picture()])])
    prompt = whole.drop(torch.arange(whole.image_tokens) % 3 == 0, "original")

    def branch(number: int, length: int) -> Branch:
        return Branch(prompt, (10 + number,), (number,), lambda tokens: length if len(tokens) == length else None)

    def decoded() -> dict[int, list[int]]:
        pool = SharedPrefixPool(policy, decoding, WIDTH)
        found: dict[int, list[int]] = {}
        pool.add([branch(0, 14), branch(1, 6)])
        for number, tokens in pool:
            found[number] = tokens
            if number == 1:
                pool.add([branch(2, 7), *(branch(number, 3) for number in (3, 4, 5))])
        return found

    expected = decoded()
    monkeypatch.setattr(
        "mmpref.vlm.shared_prefix_pool.static_step",
        lambda policy, attention: StaticStep(policy.decoder, attention, recorder),
    )
    assert decoded() == expected
    first, last = shapes.index((WIDTH, 64)), len(shapes) - 1 - shapes[::-1].index((WIDTH, 64))
    assert shapes[:first].count((2, 64)) > static_step.WARM
    assert (2, 64) in shapes[last:]


def test_a_cpu_takes_plain_steps_and_no_graph() -> None:
    policy = policy_of("llava_next")
    assert choose("auto", policy) == "plain"
    assert choose("static", policy) == "static"
    with pytest.raises(UsageError, match="CUDA graphs need a CUDA GPU, and the model is on a cpu"):
        choose("graph", policy)
