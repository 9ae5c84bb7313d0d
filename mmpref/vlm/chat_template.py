"""The true prompt format of a model: BOS in front, EOS after every answer, and both seen by training and evaluation.

TRL renders through the processor's chat template and tokenises prompt and answer apart without special tokens, so
the template has to write them. LLaVA's shipped template (1.5 and 1.6-vicuna) writes neither BOS nor the system text
it was trained with nor EOS, and ends answers with a space; it is replaced by the original format
(LLaVA `conversation.py`, ``vicuna_v1``).
"""

from __future__ import annotations

import re
from datetime import date
from typing import Any

from mmpref.errors import ModelError, reason_of
from mmpref.log import logger

_SHIPPED_LLAVA = "USER: <image>\nQ ASSISTANT: A "

_VICUNA = """\
{{- bos_token -}}
{%- if messages[0].role == 'system' -%}
{%- set system = messages[0].content if messages[0].content is string else messages[0].content[0].text -%}
{%- set turns = messages[1:] -%}
{%- else -%}
{%- set system = "A chat between a curious user and an artificial intelligence assistant. The assistant gives \
helpful, detailed, and polite answers to the user's questions." -%}
{%- set turns = messages -%}
{%- endif -%}
{{- system + ' ' -}}
{%- for message in turns -%}
{%- if message.role == 'user' -%}
{{- 'USER: ' -}}
{%- if message.content is string -%}
{{- message.content -}}
{%- else -%}
{%- for part in message.content if part.type == 'image' -%}{{- '<image>\\n' -}}{%- endfor -%}
{%- for part in message.content if part.type == 'text' -%}{{- part.text -}}{%- endfor -%}
{%- endif -%}
{%- else -%}
{{- ' ASSISTANT: ' -}}
{%- if message.content is string -%}
{{- message.content -}}
{%- else -%}
{%- for part in message.content if part.type == 'text' -%}{{- part.text -}}{%- endfor -%}
{%- endif -%}
{{- eos_token -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- ' ASSISTANT:' -}}{%- endif -%}
"""
_WITHOUT_SPACE = _VICUNA.replace("' ASSISTANT: '", "' ASSISTANT:' + ('' if loop.last else ' ')").strip()
"""As earlier versions saved it: the tokenizer was to write the space before the last answer."""

_AS_TEXT = """\
{% set turns = namespace(all=[]) %}
{% for message in messages %}
{% set other = [] if message.content is string else message.content | rejectattr('type', 'equalto', 'text') | list %}
{% set text = message.content if message.content is string else message.content | map(attribute='text') | join %}
{% set turns.all = turns.all + [message if other else dict(message, content=text)] %}
{% endfor %}
{% set messages = turns.all %}
"""
"""In front of a template that knows parts of questions only (GLM-4.1V's): messages without pictures come as text."""

QUESTION, ANSWER = "What does it show?", "One small thing."
"""Of conversations that only try a chat template."""
_HINT = "Save the chat_template.jinja of a vision-language model with it, which knows a picture and a text as parts."


DATE = date(2025, 1, 1)
"""Written where a template writes the day on which it is rendered: results are the same on any day."""
_TODAY = re.compile(r"""strftime_now\(\s*(['"])(.*?)\1\s*\)""")


def set_prompt_format(processor: Any, eos_ids: set[int], vicuna: bool, where: str) -> None:
    """Give the processor a chat template that writes the model's true format; it is saved with the processor. Where it
    has none, its tokenizer's is taken; of several templates the default one; and today's date (Mistral Small writes it
    into its system text) is `DATE`. A template that knows parts of questions only gets other messages as text.

    Raises:
        ModelError: there is no chat template, or it is one for text: it fails on content in parts, writes it as a
            Python list, or leaves the text of a question or answer out.
    """
    tokenizer = processor.tokenizer
    if getattr(processor, "chat_template", None) is None:
        processor.chat_template = getattr(tokenizer, "chat_template", None)
    if isinstance(processor.chat_template, dict):
        processor.chat_template = processor.chat_template.get("default", processor.chat_template)
    if processor.chat_template is None:
        raise ModelError(
            f"{where} has no chat template, so its prompt format is unknown.",
            "Use an instruction-tuned model, or save a chat_template.jinja with it.",
        )
    if vicuna and _render_sample(processor, where, "Q", "A") == _SHIPPED_LLAVA:
        processor.chat_template = tokenizer.chat_template = _VICUNA
        logger.info("Prompt format: the shipped chat template lacks BOS and EOS; using LLaVA's original Vicuna format.")
    elif vicuna and processor.chat_template.strip() == _WITHOUT_SPACE:
        processor.chat_template = tokenizer.chat_template = _VICUNA
    rendered = _render_sample(processor, where)
    _fix_date(processor, where)
    if _as_a_list(rendered) or _writes_system_as_a_list(processor):
        processor.chat_template = tokenizer.chat_template = _AS_TEXT + processor.chat_template
        rendered = _render_sample(processor, where)
    if _as_a_list(rendered):
        raise ModelError(
            f"The chat template of {where} is one for text: it writes the parts of a message as a list.", _HINT
        )
    for what, text in (("question", QUESTION), ("answer", ANSWER)):
        if text not in rendered:
            raise ModelError(f"The chat template of {where} leaves out the text of {what}s that are in parts.", _HINT)
    answer_end = rendered[rendered.rindex(ANSWER) + len(ANSWER) :]
    if not any(token in answer_end for token in tokenizer.convert_ids_to_tokens(sorted(eos_ids))):
        logger.warning(
            "Warning: the chat template of %s writes no end-of-sequence token after an answer, so training "
            "does not teach the model where to stop.",
            where,
        )


def _as_a_list(rendered: str) -> bool:
    """Whether parts of a message stand in it as Python or JSON writes them."""
    return "'type': 'text'" in rendered or '"type": "text"' in rendered


def _writes_system_as_a_list(processor: Any) -> bool:
    conversation = [{"role": role, "content": [{"type": "text", "text": QUESTION}]} for role in ("system", "user")]
    try:
        return _as_a_list(processor.apply_chat_template(conversation, tokenize=False))
    except Exception:  # some know no system text; rows that have one are told
        return False


def _fix_date(processor: Any, where: str) -> None:
    fixed = _TODAY.sub(lambda match: repr(DATE.strftime(match[2])), processor.chat_template)
    if fixed != processor.chat_template:
        processor.chat_template = processor.tokenizer.chat_template = fixed
        logger.info("Prompt format: the chat template of %s writes the date of the day; it is always %s.", where, DATE)
    if "strftime_now(" in fixed:
        logger.warning("Warning: the chat template of %s depends on the time: results may differ by the day.", where)


def _render_sample(processor: Any, where: str, question: str = QUESTION, answer: str = ANSWER) -> str:
    """A question about a picture, and its answer."""
    conversation = [
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]},
        {"role": "assistant", "content": [{"type": "text", "text": answer}]},
    ]
    try:
        text: str = processor.apply_chat_template(conversation, tokenize=False)
    except Exception as error:  # a template is a program, and raises what it likes
        raise ModelError(
            f"The chat template of {where} cannot write a question with a picture: {reason_of(error)[:200]}.", _HINT
        ) from error
    return text
