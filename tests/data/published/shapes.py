"""Small copies of published sets, in exactly the shape of the real ones; texts and images are our own.

Every function writes what the real repository holds into a folder. The comment above it says where the shape is from
and which quirks it has.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .files import image, jpeg, parquet, write

QUESTION = "What is on the table?"
GOOD, BAD = "A red cup and a spoon.", "A red cup, a spoon and a sleeping cat."


# source: MMInstruction/VLFeedback. Ratings are strings and may be "N/A"; aspect names hold a space; ids begin with the
# prompt's own set and are not unique.
def answer(model: str, response: str, ratings: tuple[str, str, str]) -> dict[str, Any]:
    aspects = ("Helpfulness", "Ethical Considerations", "Visual Faithfulness")
    annotations = {
        aspect: {"Rating": rating, "Rationale": "Because."} for aspect, rating in zip(aspects, ratings, strict=True)
    }
    return {"annotations": annotations, "model": model, "response": response}


def vlfeedback_rows() -> list[dict[str, Any]]:
    rows = [
        (
            "llava-reasoning-3730",
            [
                answer("gpt4v", GOOD, ("5", "5", "5")),
                answer("llava-7b", BAD, ("3", "5", "1")),
                answer("qwen-vl-chat", "There are a cup and a spoon.", ("5", "5", "5")),
                answer("minigpt4", "I cannot see it.", ("2", "N/A", "2")),
            ],
        ),
        ("svit-conversation-1219", [answer("a", "A cup.", ("4", "5", "4")), answer("b", "A mug.", ("4", "5", "4"))]),
        ("svit-conversation-1219", [answer("a", "A cup.", ("4", "5", "4")), answer("b", "A dog.", ("1", "5", "1"))]),
        ("comvint-7", [answer("a", "A cup.", ("4", "5", "4")), answer("b", "A dog.", ("1", "N/A", "1"))]),
    ]
    return [
        {"id": name, "prompt": QUESTION, "models": [one["model"] for one in answers], "completions": answers}
        for name, answers in rows
    ]


# source: MMInstruction/VLFeedback at its first layout: a loading script, answers in a JSONL file, images in a ZIP
# archive as merged_images/<id>.jpg. The rows of the file name no image.
def vlfeedback_files(folder: Path) -> None:
    rows = vlfeedback_rows()
    write(folder, "vlfeedback_80k.jsonl", rows)
    write(folder, "instruction_source.jsonl", [{"id": row["id"], "source": "x"} for row in rows])
    (folder / "VLFeedback.py").write_text("raise SystemExit('a loading script must not be run')\n")
    with zipfile.ZipFile(folder / "merged_images.zip", "w") as archive:
        for number, name in enumerate(dict.fromkeys(row["id"] for row in rows)):
            archive.writestr(f"merged_images/{name}.jpg", jpeg(number))


# source: MMInstruction/VLFeedback at its second layout: Parquet shards with embedded images; `completions` was declared
# as a Sequence of mappings and comes out as a mapping of lists.
def vlfeedback_parquet(folder: Path) -> None:
    from datasets import Image as ImageFeature
    from datasets import List, Sequence, Value

    aspect = {"Rating": Value("string"), "Rationale": Value("string")}
    annotations = dict.fromkeys(("Helpfulness", "Ethical Considerations", "Visual Faithfulness"), aspect)
    features = {
        "id": Value("string"),
        "prompt": Value("string"),
        "models": List(Value("string")),
        "completions": Sequence({"annotations": annotations, "model": Value("string"), "response": Value("string")}),
        "image": ImageFeature(),
    }
    rows = [{**row, "image": image(number)} for number, row in enumerate(vlfeedback_rows())]
    for row in rows:
        row["completions"] = {name: [one[name] for one in row["completions"]] for name in row["completions"][0]}
    parquet(folder, "data/train-00000-of-00001.parquet", rows, features)


# source: YiyangAiLab/POVID_preference_data_for_VLLMs and the README of YiyangZhou/POVID: COCO train2014 names, in part
# under ./data/coco/; only the first turns matter.
def povid(folder: Path) -> None:
    def row(number: int, image: str, more: int = 0) -> dict[str, Any]:
        human = {"from": "human", "value": f"<image>\n{QUESTION}" if number % 2 else f"{QUESTION}\n<image>"}
        later = [{"from": "human", "value": "And?"}, {"from": "gpt", "value": "No."}] * more
        return {
            "id": f"{number:012d}",
            "image": image,
            "conversations": [human, {"from": "gpt", "value": f"{GOOD} {number}"}, *later],
            "rejected_conversations": [human, {"from": "gpt", "value": f"{BAD} {number}"}, *later],
        }

    rows = [
        row(9, "./data/coco/COCO_train2014_000000000009.jpg"),
        row(25, "COCO_train2014_000000000025.jpg", more=1),
        row(34, "COCO_train2014_000000000034.jpg"),
        row(99, "./data/coco/COCO_train2014_000000000099.jpg"),
    ]
    rows.append({**row(30, "COCO_train2014_000000000030.jpg"), "rejected_conversations": rows[0]["conversations"][1:]})
    write(folder, "POVID_preference_data_for_VLLMs_version_1.json", rows)
    (folder / "README.md").write_text("---\nlicense: cc-by-4.0\n---\n# POVID\n")


# source: openbmb/RLHF-V-Dataset and thunlp/Muffin (datasets.py, line 58): `text` is a JSON string, idx an integer,
# origin_split a JSON string with model and type.
def rlhf_v(folder: Path) -> None:
    from datasets import Image as ImageFeature
    from datasets import Value

    text = json.dumps({"question": QUESTION, "chosen": GOOD, "rejected": BAD})
    rows = [
        {
            "ds_name": "RLHF-V",
            "image": image(1),
            "text": text,
            "origin_dataset": "vqav2",
            "idx": 0,
            "origin_split": json.dumps({"model": "Muffin", "type": "question_answering"}),
            "image_path": "RLHF-V/0.jpg",
        },
        {
            "ds_name": "RLHF-V",
            "image": image(2),
            "text": text,
            "origin_dataset": "LCS-558K",
            "idx": 1,
            "origin_split": "train",
            "image_path": "RLHF-V/1.jpg",
        },
        {
            "ds_name": "RLHF-V",
            "image": image(3),
            "text": text[:30],
            "origin_dataset": "LCS-558K",
            "idx": 2,
            "origin_split": "train",
            "image_path": "RLHF-V/2.jpg",
        },
    ]
    names = ("ds_name", "text", "origin_dataset", "origin_split", "image_path")
    features = {name: Value("string") for name in names} | {"image": ImageFeature(), "idx": Value("int64")}
    parquet(folder, "RLHF-V-Dataset.parquet", rows, {name: features[name] for name in rows[0]})


# source: openbmb/RLAIF-V-Dataset: flat texts, idx a string; the pairs of every iteration of three models (README of
# RLHF-V/RLAIF-V, commit 36e436f), which files and `origin_split` tell apart.
def rlaif_v(folder: Path) -> None:
    from datasets import Image as ImageFeature
    from datasets import Value

    rows = [
        {
            "ds_name": "RLAIF-V",
            "image": image(n),
            "question": QUESTION,
            "chosen": f"{GOOD} {n}",
            "rejected": BAD,
            "origin_dataset": "coco",
            "origin_split": json.dumps({"model": model, "type": "vqa"}),
            "idx": str(n),
            "image_path": f"images/{n}.jpg",
        }
        for n, model in enumerate(("OmniLMM", "OmniLMM", "llava15_7b", "MiniCPM-V"))
    ]
    features = {name: ImageFeature() if name == "image" else Value("string") for name in rows[0]}
    for number in range(2):
        parquet(folder, f"RLAIF-V-Dataset_{number:03d}.parquet", rows[2 * number : 2 * number + 2], features)


# source: HuggingFaceH4/rlaif-v_formatted, and trl-lib/rlaif-v as trl/examples/datasets/rlaif-v.py makes it:
# conversational, content in blocks, an image block's text is null; splits train and test.
def rlaif_v_conversational(folder: Path) -> None:
    from datasets import Image as ImageFeature
    from datasets import List, Value

    def block(role: str, text: str, image: bool = False) -> list[dict[str, Any]]:
        content = [{"text": None, "type": "image"}] * image + [{"text": text, "type": "text"}]
        return [{"role": role, "content": content}]

    rows = [
        {
            "images": [image(n)],
            "prompt": block("user", QUESTION, True),
            "chosen": block("assistant", f"{GOOD} {n}"),
            "rejected": block("assistant", BAD),
        }
        for n in range(3)
    ]
    turns = List({"role": Value("string"), "content": List({"text": Value("string"), "type": Value("string")})})
    features = {"images": List(ImageFeature()), "prompt": turns, "chosen": turns, "rejected": turns}
    for split, part in (("train", rows[:2]), ("test", rows[2:])):
        parquet(folder, f"data/{split}-00000-of-00001.parquet", part, features)


# source: zhiqings/LLaVA-Human-Preference-10K and LLaVA-RLHF (RLHF/data_utils/data_utils_rm.py): COCO train2017 names;
# the conversation ends in a gpt turn that the two outputs replace; preference is 1 or 2.
def llava_rlhf(folder: Path) -> None:
    def row(number: int, preference: int, turns: int = 1) -> dict[str, Any]:
        talk = [{"from": "human", "value": f"{QUESTION}\n<image>"}, {"from": "gpt", "value": "A cup."}]
        talk += [{"from": "human", "value": "Is it red?"}, {"from": "gpt", "value": "Replaced."}] * (turns - 1)
        return {
            "id": f"{number:012d}",
            "image": f"{number:012d}.jpg",
            "conversations": talk,
            "output_1": {"from": "llava", "value": GOOD if preference == 1 else BAD},
            "output_2": {"from": "llava", "value": BAD if preference == 1 else GOOD},
            "preference": preference,
            "hallucination": preference == 2,
        }

    rows = [row(9, 1), row(25, 2, turns=3), row(34, 2), row(30, 3)]
    write(folder, "llava_7b_v1_preference.json", rows)


# source: YangyiYY/LVLM_NLF: JSONL files whose `caption` differs in type, so that load_dataset refuses them; ratings are
# strings; the request to refine is the next turn's `user`.
def dress(folder: Path) -> None:
    def turn(user: str, model: str, rating: str) -> dict[str, str]:
        return {"user": user, "model": model, "rating": rating, "critique_NLF": "It is vague."}

    def row(name: str, caption: Any, *turns: dict[str, str]) -> dict[str, Any]:
        return {"image_id": name, "caption": caption, "interaction": list(turns)}

    refine = "Please look at the table again."
    write(
        folder,
        "LVLM_NLF/helpfulness_nlf.jsonl",
        [
            row("000000000009.jpg", "a table", turn(QUESTION, BAD, "2"), turn(refine, GOOD, "4")),
            row("000000000025.jpg", "a table", turn(QUESTION, GOOD, "4")),
        ],
    )
    write(
        folder,
        "LVLM_NLF/hallucination_nlf.jsonl",
        [
            row(
                "000000000034.jpg",
                ["a", "table"],
                turn(QUESTION, BAD, "1"),
                turn(refine, "A cup.", "2"),
                turn(refine, GOOD, "3"),
            ),
            row("000000000030.jpg", ["a"], turn(QUESTION, GOOD, "3"), turn(refine, BAD, "3")),
        ],
    )
    write(
        folder,
        "LVLM_NLF/harmlessness_nlf.jsonl",
        [
            row("000000000030.jpg", {"text": "x"}, turn(QUESTION, BAD, "N/A"), turn(refine, GOOD, "4")),
        ],
    )
    write(folder, "VLSafe/train.jsonl", [{"query": "?", "image_id": "000000000009.jpg"}])


# source: liuhaotian/LLaVA-Instruct-150K (LLaVA docs/Data.md): bare train2017 names, or coco/train2017/ in the mix;
# `image` is absent in text-only rows; <image> at the start or the end of the first human value.
def llava_instruct(folder: Path) -> None:
    def row(name: str, image: str | None, value: str) -> dict[str, Any]:
        given = {} if image is None else {"image": image}
        return {
            "id": name,
            **given,
            "conversations": [{"from": "human", "value": value}, {"from": "gpt", "value": GOOD}],
        }

    write(
        folder,
        "llava_instruct_150k.json",
        [
            row("000000000009", "000000000009.jpg", f"{QUESTION}\n<image>"),
            row("000000000034", "000000000034.jpg", f"<image>\n{QUESTION}"),
        ],
    )
    write(
        folder,
        "llava_v1_5_mix665k.json",
        [
            row("000000000025", "coco/train2017/000000000025.jpg", f"<image>\n{QUESTION}"),
            row("text-only", None, "What is a cup?"),
            row("vg1", "vg/VG_100K/1.jpg", f"<image>\n{QUESTION}"),
        ],
    )


# source: HuggingFaceH4/llava-instruct-mix-vsft: messages whose blocks have index, text and type; images embedded.
def vsft(folder: Path) -> None:
    from datasets import Image as ImageFeature
    from datasets import List, Value

    user = [{"index": None, "text": f"{QUESTION}\n", "type": "text"}, {"index": 0, "text": None, "type": "image"}]
    messages = [
        {"content": user, "role": "user"},
        {"content": [{"index": None, "text": GOOD, "type": "text"}], "role": "assistant"},
    ]
    block = {"index": Value("int64"), "text": Value("string"), "type": Value("string")}
    features = {"messages": List({"content": List(block), "role": Value("string")}), "images": List(ImageFeature())}
    rows = [{"messages": messages, "images": [image(1)]}]
    parquet(folder, "data/train-00000-of-00001.parquet", rows, features)


# source: trl-lib/llava-instruct-mix: prompt and completion with plain text contents, images embedded.
def trl_mix(folder: Path) -> None:
    from datasets import Image as ImageFeature
    from datasets import List, Value

    turns = List({"role": Value("string"), "content": Value("string")})
    row = {
        "prompt": [{"role": "user", "content": QUESTION}],
        "completion": [{"role": "assistant", "content": GOOD}],
        "images": [image(1)],
    }
    features = {"prompt": turns, "completion": turns, "images": List(ImageFeature())}
    parquet(folder, "data/train-00000-of-00001.parquet", [row], features)


# source: trl scripts/generate_zen_image_dataset.py (trl-internal-testing/zen-image, conversational_preference): one
# `image`.
def zen_image(folder: Path) -> None:
    from datasets import Image as ImageFeature
    from datasets import List, Value

    turns = List({"role": Value("string"), "content": Value("string")})
    row = {
        "prompt": [{"role": "user", "content": QUESTION}],
        "chosen": [{"role": "assistant", "content": GOOD}],
        "rejected": [{"role": "assistant", "content": BAD}],
        "image": image(1),
    }
    features = {"prompt": turns, "chosen": turns, "rejected": turns, "image": ImageFeature()}
    parquet(folder, "data/train-00000-of-00001.parquet", [row], features)


# source: llamafactory/RLHF-V and its dataset_info.json: conversations (sharegpt) are the prompt, chosen and rejected
# one message each.
def llamafactory(folder: Path) -> None:
    from datasets import Image as ImageFeature
    from datasets import List, Value

    turn = {"from": Value("string"), "value": Value("string")}
    row = {
        "conversations": [{"from": "human", "value": f"<image>{QUESTION}"}],
        "chosen": {"from": "gpt", "value": GOOD},
        "rejected": {"from": "gpt", "value": BAD},
        "images": [image(1)],
    }
    features = {"conversations": List(turn), "chosen": turn, "rejected": turn, "images": List(ImageFeature())}
    parquet(folder, "rlhf-v.parquet", [row], features)


REPOSITORIES: dict[str, tuple[Callable[[Path], None], ...]] = {
    "MMInstruction/VLFeedback": (vlfeedback_files, vlfeedback_parquet),
    "YiyangAiLab/POVID_preference_data_for_VLLMs": (povid,),
    "HaoyeZhang/RLHF-V-Dataset": (rlhf_v,),
    "openbmb/RLAIF-V-Dataset": (rlaif_v,),
    "HuggingFaceH4/rlaif-v_formatted": (rlaif_v_conversational,),
    "zhiqings/LLaVA-Human-Preference-10K": (llava_rlhf,),
    "YangyiYY/LVLM_NLF": (dress,),
    "liuhaotian/LLaVA-Instruct-150K": (llava_instruct,),
    "HuggingFaceH4/llava-instruct-mix-vsft": (vsft,),
    "trl-lib/llava-instruct-mix": (trl_mix,),
    "trl-internal-testing/zen-image": (zen_image,),
    "llamafactory/RLHF-V": (llamafactory,),
}
"""What each repository held, commit after commit; each replaces what was there."""
