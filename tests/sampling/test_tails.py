"""The oracle of cutting and stopping: a model that continues the reference word for word gives the reference back."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from mmpref.sampling.sentences import sentences
from mmpref.sampling.tails import TailDecoder, TailStop, TokenizedAnswer, is_cut_off, joined
from tests.sampling.trained_tokenizers import byte_fallback, byte_level

KINDS = {
    "prose": "There is a red dog on the left. It is next to a cup, and the cup is blue. A man looks on.",
    "numbered list": "The image shows:\n1. A red dog.\n2. A blue cup on a table.\n3. Two men",
    "list under a heading": "## What is there\n\n1. A red dog\n2. A blue cup\n\n## What is not\n\n1. A cat.\n",
    "dashed list": "- a red dog\n- a blue cup\n  - its handle\n- two men",
    "bold list": "**Objects:**\n* **Dog:** red, on the left.\n* **Cup:** blue!\n\nThat is all.",
    "quotation": 'The sign says "Stop. Look." It is red. He said “Go!” and went. She said: "It is a dog."',
    "parentheses": "There is a book (a red one). It is open (a book.) It is old. (It is torn.) See [1].",
    "abbreviations": "Dr. Smith, i.e. the man, is here at 5 p.m. in the U.S. He has fruit, e.g. apples. The end, etc.",
    "decimals": "It is 3.5 metres. There are 3. They cost $4.50. No. 7 is 1,000.5 wide. 12.5 is more.",
    "URLs": "See https://example.com/a.html. Then go to www.example.org. It says a.b.c is v1.2.",
    "ellipses": "There is a dog... and a cat. Hm… what? Wait... No dog is there.",
    "marks": "What a dog! Is it red? Yes!! It is?! Really? yes, it is.",
    "answers": "No. There is no dog. Yes, there is a cat. No, I see none.",
    "yes or no": "No",
    "Markdown": "# A title\n\nSome *text*. **Bold.** And `code.` here.\n\n---\n\n> A quote.\n\n```\nx = 1\n```",
    "table": "| a | b |\n| - | - |\n| dog. | cat |\n",
    "Chinese": "图中有一只红色的狗。它在左边！旁边是什么？“是杯子。”他说。还有1.5米的桌子…很大。",
    "Japanese": "赤い犬がいます。「左です。」と言いました。カップは青い！これは何ですか？",
    "Korean": "왼쪽에 빨간 개가 있습니다. 그 옆에 파란 컵이 있어요! 이것은 무엇입니까? 탁자 3.5개.",
    "Arabic": "هناك كلب أحمر على اليسار. هل هذا كوب؟ نعم، إنه أزرق! الطول 3.5 متر.",
    "Hindi": "बाईं ओर एक लाल कुत्ता है। यह क्या है? यह कप है।",
    "Thai": "มีสุนัขสีแดงอยู่ทางซ้าย ถัดจากถ้วยสีน้ำเงิน 3.5 เมตร",
    "Burmese": "ဘယ်ဘက်မှာ ခွေးနီ ရှိတယ်။ ဒါက ခွက်လား။ အပြာရောင်ပါ။",
    "Khmer": "មានឆ្កែក្រហមនៅខាងឆ្វេង។ នេះជាពែង។ វាពណ៌ខៀវ៕",
    "emoji": "What a dog! 🐕‍🦺 It is red 😀. Look 👀\nThe end 🎉",
    "Windows lines": "A dog.\r\nA cat\r\n\r\n- A cup\r\n",
    "wrapped lines": "There is a red dog on\nthe left of the cup. It\nis small.",
    "white space": "  A dog.  Two spaces.\u3000Wide.\xa0No-break. End.  ",
}


@pytest.fixture(scope="module", params=[byte_level, byte_fallback])
def tokenizer(request: pytest.FixtureRequest) -> PreTrainedTokenizerFast:
    return request.param([*KINDS.values(), *KINDS.values()])


def written_of(tokenizer: PreTrainedTokenizerFast, answer: str) -> TokenizedAnswer:
    text = f" {answer}</s>"
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    return TokenizedAnswer(text, 1, encoded["input_ids"], encoded["offset_mapping"])


def rebuilt(tokenizer: PreTrainedTokenizerFast, answer: str) -> Counter[bool]:
    """Of all cuts of all sentences, how many give the sentence back when the reference's own tokens follow the cut."""
    decoder, written, begin = TailDecoder(tokenizer), written_of(tokenizer, answer), 1
    outcomes: Counter[bool] = Counter()
    for sentence in sentences(answer):
        places = written.cut_places(begin, begin + len(sentence.body))
        assert places or len(sentence.body) < 2, sentence
        for place in places:
            cut = written.cut(place, begin)
            assert written.text[begin:].startswith(cut.head)
            stop, tail = TailStop(decoder, cut), []
            for token in written.ids[place:]:
                if token == tokenizer.eos_token_id:
                    break
                tail.append(token)
                if stop(tail) is not None:
                    break
            made = joined(decoder(cut, tail), cut, sentence)
            outcomes[made == sentence.body + sentence.trailing] += 1
            assert not is_cut_off(decoder(cut, tail), len(tail), len(tail) + 1)
        begin += len(sentence.body) + len(sentence.trailing)
    assert begin == 1 + len(answer)
    return outcomes


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_that_continues_the_reference_gives_it_back(tokenizer: PreTrainedTokenizerFast, kind: str) -> None:
    outcomes = rebuilt(tokenizer, KINDS[kind])
    assert outcomes[True] > 0
    assert outcomes[False] == 0


def test_a_sentence_has_one_cut_before_its_first_word(tokenizer: PreTrainedTokenizerFast) -> None:
    """White space before it is no token to cut at: a newline's token would make whole rewrites twice as frequent."""
    answer = KINDS["list under a heading"]
    written, begin = written_of(tokenizer, answer), 1
    for sentence in sentences(answer):
        cuts = [written.cut(place, begin) for place in written.cut_places(begin, begin + len(sentence.body))]
        assert sum(cut.fresh for cut in cuts) == 1
        assert len({cut.head for cut in cuts}) == len(cuts)
        begin += len(sentence.body) + len(sentence.trailing)


PIECES = [
    "A dog",
    " is red",
    " 5 p.m.",
    "Dr.",
    " The",
    " it",
    ".",
    ". ",
    "! ",
    "? ",
    "...",
    "… ",
    "\n",
    "\n\n",
    "- ",
    "1. ",
    "2) ",
    '"',
    "“",
    "”",
    "'",
    "(",
    ")",
    "**",
    "`",
    "# ",
    "| ",
    "3.5",
    " e.g.",
    " U.S.",
    "No",
    "Yes",
    ", ",
    ": ",
    "。",
    "！",
    "「",
    "」",
    "图中",
    "狗",
    " 개",
    "있다",
    "สุนัข",
    "كلب",
    "؟",
    "😀",
    "👩‍👩‍👧",
    "é",
    "https://a.b/c.",
    "\t",
    "  ",
    "\u3000",
    "x",
]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=14).map("".join).filter(str.strip))
def test_it_does_so_for_any_text(tokenizer: PreTrainedTokenizerFast, answer: str) -> None:
    assert rebuilt(tokenizer, answer)[False] == 0
