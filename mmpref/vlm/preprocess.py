"""Prompts and their images before any model: rendering and preprocessing."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from mmpref.errors import ChatTemplateError, ImageError, ModelError, brief, is_out_of_memory, reason_of
from mmpref.images import decode as decode_image
from mmpref.types import Example, Message, context_of
from mmpref.vlm.answer_tokens import Tokens, WrittenAnswer, tokens_behind
from mmpref.vlm.pixel_arithmetic import quick_arithmetic

if TYPE_CHECKING:
    from PIL import Image

Inputs = dict[str, torch.Tensor]
"""What a processor makes of one prompt with its images, on the CPU; the batch dimension (or its stand-in) is 1."""
Refused = Callable[[Sequence[Message], int, Mapping[str, str]], tuple[str, str] | None]
"""As `PromptPreprocessor.refused`."""


def preprocess(processor: Any, text: list[str], images: Sequence[Sequence[Image.Image]], **settings: Any) -> Any:
    """What a processor makes of prompts and the images of each, which reach it as RGB. This is the one place where an
    image that decodes, but is none for this model (too narrow, say), is told from another fault.

    Args:
        settings: further arguments of the processor.

    Raises:
        ImageError: the processor does not take the images, whatever the text beside them.
    """
    batch = [[image if image.mode == "RGB" else image.convert("RGB") for image in row] for row in images]
    try:
        with quick_arithmetic(getattr(processor, "image_processor", None)):
            return processor(text=text, images=batch, **settings)
    except Exception as error:  # each family's processor raises what it likes
        if not is_out_of_memory(error):
            for row in batch:
                if reason := _refusal(processor, row):
                    sizes = " and ".join(f"{image.width} x {image.height}" for image in row)
                    raise ImageError(
                        f"an image of {sizes} pixels is none for this model: {reason.rstrip('.')}."
                    ) from error
        raise


def _refusal(processor: Any, images: Sequence[Image.Image]) -> str | None:
    """Why a processor does not take images beside a harmless question; None where it does."""
    parts = [*({"type": "image"} for _ in images), {"type": "text", "text": "Describe it."}]
    text = processor.apply_chat_template([{"role": "user", "content": parts}], tokenize=False)
    try:
        processor(text=[text], images=[list(images)], return_tensors="pt", add_special_tokens=False)
    except Exception as error:
        return reason_of(error).rstrip(".")
    return None


def has_answer_token_type(processor: Any) -> bool:
    """Whether token types tell a model which tokens are the prompt's, to be seen both ways, and which the answer's
    (PaliGemma). Its processor takes answers as suffixes, and no text without images."""
    return "suffix" in inspect.signature(type(processor).__call__).parameters


def place_in(text: str, part: str, name: str) -> int:
    """Where a part of an answer begins in the answer as the format writes it.

    Args:
        name: what the part is, for errors.

    Raises:
        ChatTemplateError: the chat template writes another one.
    """
    if (begin := text.find(part)) < 0:
        raise ChatTemplateError(
            f"The chat template of this model changes the {name} that begins with {part[:40]!r}.",
            "What the template leaves out must not stand in the data.",
        )
    return begin


class PromptPreprocessor:
    """A processor whose chat template writes the model's true format (`mmpref.vlm.chat_template`)."""

    def __init__(self, processor: Any) -> None:
        self.processor = processor

    def render(self, messages: Sequence[Message], images: int, *, generation: bool = True) -> str:
        """The conversation in the model's prompt format; image placeholders stand in the first user turn.

        Args:
            images: how many.
            generation: end with the opening of the assistant's answer; where the messages end in a context
                (`mmpref.types.context_of`), with that.

        Raises:
            ChatTemplateError: the chat template refuses the conversation.
            ModelError, ChatTemplateError: as `render_answer`, of a context.
        """
        if generation and (context := self._context(messages)):
            opening, rest = self._written(messages[:-1], images, context)
            return opening + rest[: place_in(rest, context, "context")] + context
        conversation: list[dict[str, Any]] = []
        left = images
        for message in messages:
            parts: list[dict[str, str]] = []
            if message.role == "user" and left:
                parts = [{"type": "image"}] * left
                left = 0
            conversation.append({"role": message.role, "content": [*parts, {"type": "text", "text": message.content}]})
        try:
            text: str = self.processor.apply_chat_template(
                conversation, tokenize=False, add_generation_prompt=generation
            )
        except Exception as error:  # a template is a program, and raises what it likes
            if is_out_of_memory(error):
                raise
            words = brief(reason_of(error), 300).rstrip(".")
            raise ChatTemplateError(f"the model's chat template refuses it: {words}.") from error
        return text

    def refused(self, messages: Sequence[Message], images: int, answers: Mapping[str, str]) -> tuple[str, str] | None:
        """What the chat template refuses of a row, or leaves out, and why; None where it writes all of it. White space
        may change.

        Args:
            images: how many.
            answers: by name.

        Returns:
            ``prompt``, or the name of an answer; and the template's words.

        Raises:
            ModelError: as `render`.
        """
        context = context_of(messages)
        asked = messages[:-1] if context else messages
        part = "prompt"
        try:
            self.render(messages, images)
            for part in answers:
                answer = context + answers[part]
                whole = self.render((*asked, Message("assistant", answer)), images, generation=False)
                if "".join(answer.split()) not in "".join(whole.split()):
                    place_in(whole, answer, "answer")
        except ChatTemplateError as error:
            return part, error.message.rstrip(".")
        return None

    def render_answer(self, messages: Sequence[Message], images: int, answer: str) -> str:
        """What follows the rendered prompt when the answer is written: the answer, EOS, what the format adds.

        Raises:
            ModelError: the chat template's generation prompt is no prefix of the whole conversation, or the model reads
                prompts both ways and cannot continue a context.
            ChatTemplateError: the chat template refuses the conversation, or writes another context.
        """
        if not (context := self._context(messages)):
            return self._written(messages, images, answer)[1]
        rest = self._written(messages[:-1], images, context + answer)[1]
        return rest[place_in(rest, context, "context") + len(context) :]

    def tokenize(self, opening: str, text: str) -> Tokens:
        """The tokens of a text behind a rendered prompt."""
        # What reads prompts both ways has them end in a line of their own, which its processor writes.
        before = "" if has_answer_token_type(self.processor) else opening
        return tokens_behind(self.processor.tokenizer, before, text)

    def written_answer(self, messages: Sequence[Message], images: int, answer: str) -> WrittenAnswer:
        """`render_answer` in tokens, and where the answer begins in it.

        Raises:
            ModelError, ChatTemplateError: as `render_answer`.
            ChatTemplateError: the chat template writes another answer; some leave out what stands before ``</think>``.
        """
        text = self.render_answer(messages, images, answer)
        tokens = self.tokenize(self.render(messages, images), text)
        return WrittenAnswer(text, place_in(text, answer, "answer"), *tokens)

    def _context(self, messages: Sequence[Message]) -> str:
        """The context that messages end in, or nothing."""
        context = context_of(messages)
        if context and has_answer_token_type(self.processor):
            raise ModelError(
                "This model reads the whole prompt both ways, so that no answer can be continued as it was written.",
                "Use pairs of whole answers.",
            )
        return context

    def _written(self, messages: Sequence[Message], images: int, answer: str) -> tuple[str, str]:
        """The opening of an answer to a question, and what stands behind it."""
        opening = self.render(messages, images)
        whole = self.render((*messages, Message("assistant", answer)), images, generation=False)
        if whole.startswith(opening):
            return opening, whole[len(opening) :]
        # LLaVA-OneVision's writes "assistant\n" where the model is to answer, and "assistant \n" before an answer.
        begin = opening.rstrip()
        rest = whole[len(begin) :].lstrip()
        if not (whole.startswith(begin) and rest.startswith(answer.strip())):
            raise ModelError(
                "The chat template of this model does not begin an answer with its generation prompt.",
                "Such a template cannot be trained or continued; fix chat_template.jinja.",
            )
        return opening, rest

    def prepare(self, messages: Sequence[Message], images: Sequence[Image.Image]) -> Inputs:
        """Render one prompt and preprocess its images: all of the work that needs no model.

        Raises:
            ChatTemplateError: the chat template refuses the prompt.
            ImageError: the processor does not take the images.
        """
        text = [self.render(messages, len(images))]
        if images:
            prepared = preprocess(self.processor, text, [list(images)], return_tensors="pt", add_special_tokens=False)
        else:  # the tokenizer does all that there is to do, and some processors refuse
            prepared = self.processor.tokenizer(text=text, return_tensors="pt", add_special_tokens=False)
        return {name: value for name, value in prepared.items() if isinstance(value, torch.Tensor)}

    def prepare_all(self, prompts: Sequence[Sequence[Message]], images: Sequence[Image.Image]) -> list[Inputs]:
        """`prepare` several prompts about the same images, which are preprocessed once."""
        if len(prompts) == 1 or not images:
            return [self.prepare(messages, images) for messages in prompts]
        image_processor = self.processor.image_processor
        self.processor.image_processor = _CachedImageProcessor(image_processor)
        try:
            return [self.prepare(messages, images) for messages in prompts]
        finally:
            self.processor.image_processor = image_processor

    def __call__(self, example: Example) -> Inputs:
        """`prepare` the prompt and the encoded images of an example.

        Raises:
            ImageError: an image that cannot be decoded, or that the processor does not take.
        """
        return self.prepare(example.prompt, [decode_image(image) for image in example.images])


class _CachedImageProcessor:
    """An image processor that works the first time, and then gives the same again."""

    def __init__(self, processor: Any) -> None:
        self._processor = processor
        self._output: Any = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._processor, name)

    def __call__(self, *args: Any, **settings: Any) -> Any:
        if self._output is None:
            with quick_arithmetic(self._processor):
                self._output = self._processor(*args, **settings)
        return type(self._output)(dict(self._output))  # processors take parts out of it
