"""What a person who sees a scene well would write about it: the reference that answers are judged beside."""

from __future__ import annotations

from dataclasses import replace

from mmpref.testbed.language import kind_sentence, row_sentence
from mmpref.testbed.world import Scene


def description(scene: Scene) -> str:
    """Say all there is to say: every row from the back, and the kind of place (a caption may leave things out)."""
    said = []
    for row in scene.rows:
        first, second = (thing.name for thing in scene.in_row(row))
        said.append(row_sentence(first, second, row, 0))
    return " ".join([*said, kind_sentence(scene.kind)])


def with_other(scene: Scene, old: str, new: str) -> Scene:
    """The scene with another thing in the place of one; what is drawn for it is the same."""
    things = tuple(replace(thing, name=new) if thing.name == old else thing for thing in scene.things)
    return replace(scene, things=things)
