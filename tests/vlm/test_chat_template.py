"""The shipped LLaVA template is replaced by the format that LLaVA was trained with."""

from __future__ import annotations

from datetime import datetime

import pytest

from mmpref.errors import ChatTemplateError, ModelError
from mmpref.types import Message, ModelRef
from mmpref.vlm.chat_template import set_prompt_format
from mmpref.vlm.families import find_family
from mmpref.vlm.policy import Policy
from mmpref.vlm.preprocess import PromptPreprocessor
from tests.vlm.tiny import BUILDERS

# As llava-hf ships it, in what it renders: no BOS, no system text, no EOS, a space after the answer.
SHIPPED = (
    "{% for message in messages %}{% if message.role != 'system' %}{{ message.role.upper() + ': ' }}{% endif %}"
    "{% for part in message.content if part.type == 'image' %}{{ '<image>\n' }}{% endfor %}"
    "{% for part in message.content if part.type == 'text' %}{{ part.text + ' ' }}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, "
    "and polite answers to the user's questions."
)


@pytest.fixture
def parts():
    return BUILDERS["llava"]()


def test_shipped_llava_template_becomes_the_vicuna_format(parts):
    model, processor = parts
    processor.chat_template = SHIPPED
    policy = Policy(model, processor, find_family("llava", "tiny"), ModelRef("tiny"))
    question, answer = Message("user", "Q"), Message("assistant", "A")
    assert policy.render((question, answer), 1, generation=False) == "USER: <image>\nQ ASSISTANT: A "

    set_prompt_format(processor, policy.eos_ids, True, "tiny")
    prompt = policy.render((question,), 1)
    whole = policy.render((question, answer), 1, generation=False)
    assert prompt == f"<s>{SYSTEM} USER: <image>\nQ ASSISTANT:"
    assert whole == prompt + " A</s>"
    assert policy.render_answer((question,), 1, "A") == " A</s>"
    assert policy.written_answer((question,), 1, "A")[:2] == (" A</s>", 1)
    assert policy.tokenizer.chat_template == processor.chat_template
    ids = processor.tokenizer(whole, add_special_tokens=False)["input_ids"]
    assert ids.count(processor.tokenizer.bos_token_id) == 1
    assert ids[0] == processor.tokenizer.bos_token_id
    assert ids.count(processor.tokenizer.eos_token_id) == 1
    assert ids[-1] == processor.tokenizer.eos_token_id


def test_a_model_that_an_earlier_version_saved_writes_the_space_before_its_last_answer(parts, tmp_path):
    """Its template left that to the tokenizer."""
    _, processor = parts
    processor.chat_template = SHIPPED
    set_prompt_format(processor, {2}, True, "tiny")
    now = processor.chat_template
    processor.chat_template = now.replace("' ASSISTANT: '", "' ASSISTANT:' + ('' if loop.last else ' ')")
    assert processor.chat_template != now
    processor.save_pretrained(tmp_path)
    processor.chat_template = (tmp_path / "chat_template.jinja").read_text()
    question, answer = Message("user", "Q"), Message("assistant", "A")
    asked = PromptPreprocessor(processor).render((question,), 1)
    set_prompt_format(processor, {2}, True, "tiny")
    assert PromptPreprocessor(processor).render((question,), 1) == asked
    assert PromptPreprocessor(processor).render((question, answer), 1, generation=False) == f"{asked} A</s>"
    assert processor.tokenizer.chat_template == processor.chat_template


def test_an_answer_that_a_template_writes_otherwise_is_an_error_of_its_row(parts):
    """As templates of models that think aloud: they leave out what stands before the end of the reasoning."""
    model, processor = parts
    processor.chat_template = (
        "{% for turn in messages %}{% if turn.role == 'user' %}USER: Q{% else %} ASSISTANT:"
        "{{ ' ' + turn.content[0].text.split('</think>')[-1] }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %} ASSISTANT:{% endif %}"
    )
    policy = Policy(model, processor, find_family("llava", "tiny"), ModelRef("tiny"))
    assert policy.written_answer((Message("user", "Q"),), 0, "A")[:2] == (" A", 1)
    with pytest.raises(ChatTemplateError, match="changes the answer that begins with '<think>so</think>A'"):
        policy.written_answer((Message("user", "Q"),), 0, "<think>so</think>A")


def test_several_turns_are_written_as_llava_was_trained(parts):
    """`conversation.py`, SeparatorStyle.TWO: after the system text and after questions a space, after answers EOS."""
    model, processor = parts
    processor.chat_template = SHIPPED
    policy = Policy(model, processor, find_family("llava", "tiny"), ModelRef("tiny"))
    set_prompt_format(processor, policy.eos_ids, True, "tiny")
    said = (("user", "Q1"), ("assistant", "A1"), ("user", "Q2"), ("assistant", "A2"), ("user", "Q3"))
    turns = tuple(Message(role, text) for role, text in said)
    first = f"<s>{SYSTEM} USER: <image>\nQ1 ASSISTANT: A1</s>"
    assert policy.render(turns[:3], 1) == first + "USER: Q2 ASSISTANT:"
    assert policy.render(turns, 1) == first + "USER: Q2 ASSISTANT: A2</s>USER: Q3 ASSISTANT:"
    assert policy.render(turns[:4], 1, generation=False) == first + "USER: Q2 ASSISTANT: A2</s>"
    assert policy.render_answer(turns[:3], 1, "A2") == " A2</s>"
    own = (Message("system", "Be brief."), *turns[:3])
    assert policy.render(own, 1) == "<s>Be brief. USER: <image>\nQ1 ASSISTANT: A1</s>USER: Q2 ASSISTANT:"


def test_a_template_that_is_right_stays(parts):
    _, processor = parts
    before = processor.chat_template
    set_prompt_format(processor, {2}, True, "tiny")
    assert processor.chat_template == before


def test_a_family_without_the_defect_keeps_its_template(parts):
    _, processor = parts
    processor.chat_template = SHIPPED
    set_prompt_format(processor, {2}, False, "tiny")
    assert processor.chat_template == SHIPPED


def test_the_tokenizers_template_is_taken_where_the_processor_has_none(parts):
    _, processor = parts
    processor.tokenizer.chat_template, processor.chat_template = processor.chat_template, None
    set_prompt_format(processor, {2}, True, "tiny")
    assert processor.chat_template == processor.tokenizer.chat_template
    assert "<image>" in PromptPreprocessor(processor).render([Message("user", "Q")], 1)


EACH = "{% for message in messages %}{{ message.role + ': ' }}{% for part in message.content %}"
END = "{% endfor %}{% endfor %}"
CANNOT, AS_A_LIST = "cannot write a question with a picture", "writes the parts of a message as a list"
FOR_TEXT = {
    "a list": ("{% for message in messages %}{{ message.content }}{% endfor %}", AS_A_LIST),
    "JSON": ("{{ messages | tojson }}", AS_A_LIST),
    "a sum": ("{% for message in messages %}{{ 'x' + message.content }}{% endfor %}", CANNOT),
    "a refusal": ("{{ raise_exception('no images') }}", f"{CANNOT}: no images"),
    "no Jinja": ("{% for %}", CANNOT),
    "several, none of them the default": ({"rag": "x", "tool_use": "y"}, CANNOT),
    "pictures only": (
        EACH + "{% if part.type == 'image' %}<image>{% endif %}" + END,
        "leaves out the text of questions",
    ),
    "no answers": (
        EACH + "{% if message.role == 'user' %}{{ part.text or '<image>' }}{% endif %}" + END,
        "leaves out the text of answers",
    ),
}


@pytest.mark.parametrize("name", FOR_TEXT)
def test_a_template_for_text_is_refused(parts, name):
    _, processor = parts
    processor.chat_template, says = FOR_TEXT[name]
    with pytest.raises(ModelError, match=f"chat template of some/model.*{says}"):
        set_prompt_format(processor, {2}, True, "some/model")


def test_no_chat_template_is_refused(parts):
    _, processor = parts
    processor.chat_template = None
    with pytest.raises(ModelError, match="has no chat template"):
        set_prompt_format(processor, {2}, True, "some/model")


def test_no_prompt_depends_on_the_day(parts, caplog):
    """As Mistral Small's template does; `strftime_now` is a function that transformers gives to templates."""
    _, processor = parts
    own = processor.chat_template
    processor.chat_template = "{%- set today = strftime_now('%Y-%m-%d') %}{{ 'Today is ' + today + '. ' }}" + own
    question = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Q"}]}]
    today = processor.apply_chat_template(question, tokenize=False)
    assert f"Today is {datetime.now():%Y-%m-%d}. " in today, "the template is one that tells the day"
    with caplog.at_level("INFO", "mmpref"):
        set_prompt_format(processor, {processor.tokenizer.eos_token_id}, False, "tiny")
    assert processor.apply_chat_template(question, tokenize=False).startswith("Today is 2025-01-01. ")
    assert "it is always 2025-01-01" in caplog.text
    processor.chat_template = "{%- set form = '%d' %}{{ strftime_now(form) }}" + own
    set_prompt_format(processor, {processor.tokenizer.eos_token_id}, False, "tiny")
    assert "depends on the time" in caplog.text


def test_of_several_templates_the_default_is_taken(parts):
    _, processor = parts
    own = processor.chat_template
    processor.chat_template = {"tool_use": "{{ 'tools' }}", "default": own}
    set_prompt_format(processor, {processor.tokenizer.eos_token_id}, False, "tiny")
    assert processor.chat_template == own


# As GLM-4.1V ships it, in what it renders: parts are of questions only.
PARTS_OF_QUESTIONS = (
    "{% for turn in messages %}{{ '<' + turn.role + '>' }}{% if turn.role == 'user' and turn.content is not string %}"
    "{% for part in turn.content %}{{ '<image>' if part.type == 'image' else part.text }}{% endfor %}"
    "{% else %}{{ turn.content }}{% endif %}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"
)


def test_a_template_that_knows_parts_of_questions_only_gets_other_messages_as_text(parts):
    _, processor = parts
    processor.chat_template = PARTS_OF_QUESTIONS
    set_prompt_format(processor, {processor.tokenizer.eos_token_id}, False, "tiny")
    said = (("system", "S"), ("user", "Q1"), ("assistant", "A1"), ("user", "Q2"))
    turns = [Message(role, text) for role, text in said]
    prompter = PromptPreprocessor(processor)
    opening = "<system>S</s><user><image>Q1</s><assistant>A1</s><user>Q2</s><assistant>"
    assert prompter.render(turns, 1) == opening
    assert prompter.render_answer(turns, 1, "A2") == "A2</s>"
    assert processor.tokenizer.chat_template == processor.chat_template


def test_a_system_text_alone_is_not_written_as_a_list_either(parts):
    _, processor = parts
    processor.chat_template = (
        "{% for turn in messages %}{% if turn.role == 'system' %}{{ turn.content }}{% else %}{{ turn.role }}"
        "{% for part in turn.content if turn.content is not string %}{{ part.text or '<image>' }}{% endfor %}"
        "{% if turn.content is string %}{{ turn.content }}{% endif %}{% endif %}{{ eos_token }}{% endfor %}"
    )
    set_prompt_format(processor, {processor.tokenizer.eos_token_id}, False, "tiny")
    turns = [Message("system", "S"), Message("user", "Q")]
    assert PromptPreprocessor(processor).render(turns, 1) == "S</s>user<image>Q</s>"


# As LLaVA-OneVision ships it: a space behind "assistant", which its generation prompt has not.
ONE_VISION = (
    "{% for turn in messages %}{{ turn.role + ' ' }}{% for part in turn.content %}"
    "{{ '<image>' if part.type == 'image' else '\n' + part.text }}{% endfor %}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant\n' }}{% endif %}"
)


def test_an_answer_stands_behind_the_generation_prompt_whatever_white_space_it_has(parts):
    model, processor = parts
    processor.chat_template = ONE_VISION
    policy = Policy(model, processor, find_family("llava", "tiny"), ModelRef("tiny"))
    question = (Message("user", "Q"),)
    assert policy.render(question, 1) == "user <image>\nQ</s>assistant\n"
    assert policy.written_answer(question, 1, "A")[:2] == ("A</s>", 0)
    context = (*question, Message("assistant", "A b."))
    assert policy.render(context, 1) == "user <image>\nQ</s>assistant\nA b."
    assert policy.render_answer(context, 1, " C.") == " C.</s>"


@pytest.mark.parametrize(
    "template",
    [
        ONE_VISION.replace("'assistant\n'", "'assistant\n<think>'"),
        ONE_VISION.replace("turn.role + ' '", "turn.role + ':'"),
    ],
    ids=["think", "colon"],
)
def test_an_answer_behind_something_else_than_its_opening_is_refused(parts, template):
    model, processor = parts
    processor.chat_template = template
    policy = Policy(model, processor, find_family("llava", "tiny"), ModelRef("tiny"))
    with pytest.raises(ModelError, match="does not begin an answer with its generation prompt"):
        policy.render_answer((Message("user", "Q"),), 1, "A")
