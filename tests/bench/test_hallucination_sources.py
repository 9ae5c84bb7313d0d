"""What is concluded of probed words, and how sure it is."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import product

import pytest

from mmpref.bench.hallucination_sources import CONCLUSIONS, FEWEST, FEWEST_PICTURES, Conclusion, Sources, summarise
from mmpref.sampling.bias_probe import IMAGES, TEXTS, Image, Mention, Probed, Said, Text

Contexts = set[tuple[Image, Text]]
WITH_TEXT: Contexts = {(image, "own") for image in IMAGES}
WITH_IMAGE: Contexts = {("shown", text) for text in TEXTS}
WITH_GIST: Contexts = WITH_IMAGE | {("gist", text) for text in TEXTS}


def words(count: int, says: Contexts, without: Contexts | None = None, sentence: int = 1) -> list[Probed]:
    """Words that are said in some contexts, and as they were."""
    contexts = [one for one in product(IMAGES, TEXTS) if one not in (without or set())]
    return [
        Probed(
            row,
            Mention(0, 1, f"thing {row}"),
            sentence,
            {
                one: Said(-0.5 if one in says or one == ("shown", "own") else -3.0, one in says | {("shown", "own")})
                for one in contexts
            },
        )
        for row in range(count)
    ]


def told(probed: list[Probed], pictures: list[int] | None = None) -> Sources:
    """Of a hundred rows.

    Args:
        pictures: what they are about; by default each about another one.
    """
    return summarise(probed, [f"id {row}" for row in range(100)], pictures or list(range(100)), 300, 60, 4)


@pytest.mark.parametrize(
    ("probed", "conclusion"),
    [
        (words(30, WITH_TEXT), "text"),
        (words(30, WITH_IMAGE), "image"),
        (words(30, WITH_GIST), "gist"),
        (words(30, WITH_TEXT | WITH_GIST), "both"),
        (words(30, set()), "cannot be told"),
        (words(15, WITH_TEXT) + words(30, WITH_GIST)[15:], "both"),
        (words(4, WITH_TEXT) + words(32, WITH_GIST)[4:] + words(32, WITH_GIST)[4:], "gist"),
        # The image outdoes the text before where it is seen, and the text is what a bias is of where it is not.
        (words(30, WITH_TEXT | WITH_IMAGE), "text"),
        (words(FEWEST - 1, WITH_TEXT), "cannot be told"),
        ([], "cannot be told"),
    ],
)
def test_conclusions(probed: list[Probed], conclusion: Conclusion) -> None:
    sources = told(probed)
    assert sources.conclusion == conclusion
    assert json.loads(json.dumps(sources.as_plain()))["conclusion"] == conclusion
    assert ("use more rows" in sources.words) == (len(probed) < FEWEST)


def test_many_words_of_few_rows_tell_nothing() -> None:
    sources = told(3 * words(FEWEST_PICTURES - 1, WITH_TEXT))
    assert (sources.measured, sources.measured_rows) == (3 * (FEWEST_PICTURES - 1), FEWEST_PICTURES - 1)
    assert sources.conclusion == "cannot be told"
    assert f"of {FEWEST_PICTURES - 1} rows could be measured: use more rows" in sources.words


def test_shares_changes_and_intervals() -> None:
    sources = told([*words(10, WITH_TEXT), *words(40, WITH_GIST)[10:]])
    cells = {(cell.image, cell.text): cell for cell in sources.cells}
    assert len(cells) == 9
    assert (sources.measured, sources.hallucinated, sources.names, sources.rows) == (40, 60, 300, 100)
    assert cells["shown", "own"].survive == (1.0, 1.0, 1.0)
    assert cells["shown", "own"].log_prob == (0.0, 0.0, 0.0)
    hidden = cells["hidden", "own"]
    assert hidden.survive.value == 0.25
    assert hidden.survive.low < 0.25 < hidden.survive.high
    assert hidden.log_prob.value == pytest.approx(-2.5 * 0.75)
    assert sources.gist is not None
    assert sources.text is not None
    assert sources.gist_share is not None
    assert (sources.gist.value, sources.text.value) == (pytest.approx(2.5 * 0.75), pytest.approx(2.5 * 0.25))
    assert sources.gist_share.value == pytest.approx(0.75)
    assert 0.5 < sources.gist_share.low < 0.75 < sources.gist_share.high < 1


def test_what_gist_and_text_add_is_the_whole_that_they_add_together() -> None:
    """Each by the mean over the orders: alone they add 1 and 2 nats, together 4."""
    found = {one: Said(-9.0, False) for one in product(IMAGES, TEXTS)} | {
        ("shown", "own"): Said(-1.0, True),
        ("gist", "other"): Said(-8.0, False),
        ("hidden", "own"): Said(-7.0, False),
        ("gist", "own"): Said(-5.0, False),
    }
    sources = told([Probed(row, Mention(0, 1, "thing"), 1, found) for row in range(30)])
    assert sources.gist == pytest.approx((1.5, 1.5, 1.5))
    assert sources.text == pytest.approx((2.5, 2.5, 2.5))
    assert sources.conclusion == "both"


def test_what_makes_words_less_likely_is_no_share() -> None:
    less = {one: Said(-3.0, False) for one in product(IMAGES, TEXTS)} | {
        ("shown", "own"): Said(-0.5, True),
        ("gist", "own"): Said(-2.0, False),
        ("gist", "other"): Said(-4.0, False),
        ("hidden", "own"): Said(-1.5, False),
    }
    sources = told([Probed(row, Mention(0, 1, "thing"), 1, less) for row in range(30)])
    assert sources.gist_share == (0, 0, 0)
    assert sources.conclusion == "text"


def test_details_are_misread_only_where_the_rest_of_the_image_adds_more_than_gist_and_text_may() -> None:
    """That neither is told from nothing does not say that they add nothing."""

    def unsure(rest: float) -> Sources:
        """By row the gist adds 3 nats or takes 2."""
        return told(
            [
                Probed(
                    row,
                    Mention(0, 1, "thing"),
                    1,
                    {
                        (image, text): Said({"hidden": -9, "gist": gist, "shown": gist + rest}[image], image == "shown")
                        for image, text in product(IMAGES, TEXTS)
                    },
                )
                for row, gist in enumerate(15 * (-6.0, -11.0))
            ]
        )

    little, much = unsure(0.4), unsure(4.0)
    for sources in (little, much):
        assert sources.gist is not None
        assert sources.gist.low < 0 < 0.4 < sources.gist.value < sources.gist.high
    assert little.conclusion == "cannot be told"
    assert much.conclusion == "image"


@pytest.mark.parametrize(("rest", "outweighs"), [(2.0, False), (8.0, True)])
@pytest.mark.parametrize(
    ("adds", "conclusion"), [((3.0, 0.0), "gist"), ((0.0, 3.0), "text"), ((1.5, 1.5), "both"), ((0.0, 0.0), None)]
)
def test_the_conclusion_says_where_the_rest_of_the_image_outweighs_what_it_compares(
    adds: tuple[float, float], conclusion: Conclusion | None, rest: float, outweighs: bool
) -> None:
    gist, text = adds
    image = {"hidden": 0.0, "gist": gist, "shown": gist + rest}
    before = {"own": text, "other": 0.0, "dropped": 0.0}
    found = {
        (one, other): Said(image[one] + before[other] - 20, one == "shown") for one, other in product(IMAGES, TEXTS)
    }
    sources = told([Probed(row, Mention(0, 1, "thing"), 1, found) for row in range(30)])
    assert sources.conclusion == (conclusion or "image"), "which the rest has no part in, but where the two add nothing"
    assert sources.words.startswith(CONCLUSIONS[sources.conclusion])
    assert ("rest of the image adds more than both together" in sources.words) is (outweighs and conclusion is not None)


def test_words_of_one_row_are_resampled_together() -> None:
    apart = told(words(20, WITH_TEXT) + words(60, WITH_GIST)[20:])
    rows = [
        Probed(one.row // 10, one.mention, 1, one.found) for one in words(20, WITH_TEXT) + words(60, WITH_GIST)[20:]
    ]
    together = told(rows)
    assert apart.text is not None
    assert together.text is not None
    assert together.text.value == apart.text.value
    assert together.text.high - together.text.low > 1.5 * (apart.text.high - apart.text.low)


def test_rows_about_one_picture_count_once_and_are_resampled_together() -> None:
    """Thirty pictures, each in three rows: as sure as one row a picture, and not more."""
    once = words(10, WITH_TEXT) + words(30, WITH_GIST)[10:]
    thrice = [replace(one, row=one.row + 30 * times) for times in range(3) for one in once]
    apart, together, taken_apart = told(once), told(thrice, [row % 30 for row in range(100)]), told(thrice)
    assert (together.measured, together.measured_rows, together.measured_pictures) == (90, 90, 30)
    assert together.gist == pytest.approx(apart.gist)
    assert together.text == pytest.approx(apart.text)
    assert together.gist_share == pytest.approx(apart.gist_share)
    assert taken_apart.text is not None
    assert together.text is not None
    assert taken_apart.text.high - taken_apart.text.low < 0.7 * (together.text.high - together.text.low)


@pytest.mark.parametrize("pictures", [FEWEST_PICTURES - 1, FEWEST - 1])
def test_many_rows_about_few_pictures_tell_nothing(pictures: int) -> None:
    """So few pictures, or each with a single thing: what rows repeat of these is nothing new."""
    few = words(pictures, WITH_TEXT)
    sources = told(
        [replace(one, row=one.row + pictures * times) for times in range(3) for one in few],
        [row % pictures for row in range(100)],
    )
    assert sources.conclusion == "cannot be told"
    assert f"of {3 * pictures} rows about {pictures} pictures could be measured: use rows about more" in sources.words


def test_what_cannot_be_asked_is_counted_and_left_out() -> None:
    first = words(3, WITH_TEXT, {(image, text) for image in IMAGES for text in ("other", "dropped")}, sentence=0)
    alone = words(4, WITH_TEXT, {(image, "other") for image in IMAGES})
    again = [
        Probed(one.row, one.mention, 1, {**one.found, ("shown", "own"): Said(-2.0, False)})
        for one in words(5, WITH_TEXT)
    ]
    sources = told([*first, *alone, *again, *words(25, WITH_TEXT)])
    assert sources.measured == 25
    assert list(sources.left_out.values()) == [3, 4, 5]
