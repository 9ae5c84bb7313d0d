"""Words are counted as white space has them where a script uses it, and by characters where it does not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmpref.words import EnglishWords, words


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("  \n ", 0),
        ("A cat - and a dog's tail - sits.", 9),
        ("well-known, e.g. 3.5 m/s (fast) ...", 6),
        ("Ein großer Bär läuft über die Straße.", 7),
        ("В комнате стоит стол.", 4),
        ("هناك قطة على الطاولة.", 4),
        ("고양이가 책상 위에 앉아 있다.", 5),
        ("一只猫坐在桌子上。", 8),
        ("图里有什么？ 有猫！", 7),
        ("「猫」です", 3),
        ("ねこがテーブルにいる。", 10),
        ("用iPhone拍了3张照片。", 8),
        ("แมวนั่งบนโต๊ะ", 10),
        ("ဝက်", 2),
        ("。。。", 1),
        ("A cat 猫 sits.", 4),
    ],
)
def test_a_texts_words(text: str, count: int) -> None:
    assert len(words(text)) == count, words(text)


@given(st.text(st.characters(exclude_categories=("Cs",), max_codepoint=0x02AF)))
def test_spaced_scripts_are_split_at_white_space(text: str) -> None:
    assert words(text) == text.split()


@given(st.text("a1 .、。猫ねー「」แที\n한é", max_size=40))
def test_no_character_is_lost_or_moved(text: str) -> None:
    assert "".join(words(text)) == "".join(text.split())
    assert all(words(text))


@pytest.mark.parametrize(
    ("texts", "are_english"),
    [
        (["A cat sits on the mat."], True),
        (["A cup.", "Eine Tasse."], True),
        (["Eine Katze sitzt auf der Matte."], False),
        (["一只猫。"], False),
        (["There is a cat on the mat, and a dog."] * 40 + ["Có một cốc và một ghế."] * 2, False),
        (["There is a cat on the mat, and a dog."] * 40 + ["यहाँ एक कुत्ता है।"], False),
        (["There is a cat on the mat."] * 40 + ["Dort sitzt eine große Katze auf der Matte neben einem Hund"], False),
        (["There is a cat on the mat."] * 200 + ["A café."], True),
        ([], False),
        (["", "1 2 3"], False),
    ],
)
def test_english_is_known_by_its_commonest_words(texts: list[str], are_english: bool) -> None:
    found = EnglishWords()
    for text in texts:
        found.add(text)
    assert found.are_english == are_english
    assert found.any == any(texts)
