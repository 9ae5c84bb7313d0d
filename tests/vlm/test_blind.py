"""Every family answers without an image, and with all image tokens hidden: no image then decides anything."""

from __future__ import annotations

from mmpref.vlm.decoding import Decoding
from mmpref.vlm.generate import Request, generate
from tests.vlm.test_families import EVERY, MESSAGES, picture, policy_of

GREEDY = Decoding(6, greedy=True)


@EVERY
def test_hidden_images_decide_nothing(name: str) -> None:
    requests = [Request(MESSAGES, (picture(seed),)) for seed in (0, 1, 2)]
    policy = policy_of(name)
    blind = generate(policy, requests, GREEDY, hide_images=True)
    assert len(set(blind)) == 1
    assert blind == generate(policy, requests[::-1], GREEDY, batch_size=1, hide_images=True)


@EVERY
def test_a_question_needs_no_image(name: str) -> None:
    policy = policy_of(name)
    request = Request(MESSAGES, ())
    alone = generate(policy, [request], GREEDY)
    mixed = generate(policy, [Request(MESSAGES, (picture(),)), request, request], GREEDY)
    assert mixed[1:] == alone * 2


def test_nothing_is_hidden_unless_asked_for() -> None:
    policy = policy_of("llava_next")
    requests = [Request(MESSAGES, (picture(seed),)) for seed in range(6)]
    seen = generate(policy, requests, GREEDY)
    assert len(set(seen)) > 1, "a model that says the same of every image shows nothing"
    assert seen != generate(policy, requests, GREEDY, hide_images=True)
