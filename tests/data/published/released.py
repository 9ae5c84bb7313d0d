"""Small copies of the sets that came with methods after the paper, in exactly the shape of the real ones; texts and
images are our own. The comment above a function says where the shape is from."""

from __future__ import annotations

import base64
import json
import zipfile
from pathlib import Path

from .files import coco, image, jpeg, parquet, write
from .shapes import BAD, GOOD, QUESTION


# source: Mr-Loevan/HSA-DPO dbb76cd, hsa_dpo/models/llava-v1_5/train_dpo.py `hsa_dpo_process` and `__getitem__`.
def hsa_dpo(folder: Path) -> None:
    pair = {"question": QUESTION, "chosen": GOOD, "rejected": BAD}
    rows = [{"id": number, **pair, "rejected_score": 2.0} for number in (0, 1, 9)]
    write(folder, "hsa_dpo_preference_llava1dot5.jsonl", [*rows, {"id": 1, **pair, "chosen": ""}])
    write(folder, "hsa_dpo_detection.jsonl", [{"id": 0, "image": "VG_100K/1.jpg", "text": "No pair."}])
    for number in (0, 1):
        (folder / "images").mkdir(exist_ok=True)
        (folder / "images" / f"{number}.jpg").write_bytes(jpeg(number))


# source: luka-group/mDPO 2221bb3, data/sample_data.json.
VICUNA = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, "
    "and polite answers to the user's questions. "
)


def mdpo(folder: Path) -> None:
    prompt = f"{VICUNA}USER: <image>\n{QUESTION} ASSISTANT:"
    rows = [
        {"img_path": f"images/{name}.jpg", "prompt": prompt, "chosen": GOOD, "rejected": BAD}
        for name in ("llava-reasoning-3730", "llava-reasoning-5951", "llava-detail-7")
    ]
    write(folder, "vlfeedback_llava_10k.json", rows)
    (folder / "images").mkdir()
    for number, row in enumerate(rows[:2]):
        (folder / row["img_path"]).write_bytes(jpeg(number))


# source: Liuwq-bit/SymMPO a4a1a39, muffin/data/datasets.py `SymMPODataset`.
def symmpo(folder: Path) -> None:
    import datasets

    text, picture = datasets.Value("string"), datasets.Image()
    row = {
        "idx": "17",
        "question": QUESTION,
        "image_1": image(1),
        "image_2": image(2),
        "image_path_1": "a.jpg",
        "image_path_2": "b.jpg",
        "resp_1_w": f"{GOOD} 1",
        "resp_1_l": f"{BAD} 1",
        "resp_2_w": f"{GOOD} 2",
        "resp_2_l": f"{BAD} 2",
        "origin_dataset": "COCO",
        "origin_split": '{"type": "detail"}',
    }
    features = {name: picture if name in ("image_1", "image_2") else text for name in row}
    parquet(folder, "data/train-00000-of-00001.parquet", [row, {**row, "idx": "18", "resp_2_l": None}], features)


# source: Kwai-YuanQi/MM-RLHF 7c8af1d, scripts/convert_to_swift.py and README (folders).
def mm_rlhf(folder: Path) -> None:
    pair = {"prompt": QUESTION, "chosen": GOOD, "rejected": BAD}
    rows = [
        {"id": "1", "image": "long/1.jpg", **pair},
        {"id": "2", "image": "mcq/2.jpg", **pair, "prompt": f"<image>\n{QUESTION}"},
        {"id": "3", "video": "short/3", **pair},
    ]
    write(folder, "dpo_pairs.jsonl", rows)
    write(folder, "data.jsonl", [{"id": "1", "image": "long/1.jpg", "human_ranking": [1, 2]}])
    for name in ("long/1.jpg", "mcq/2.jpg"):
        (folder / name).parent.mkdir()
        (folder / name).write_bytes(jpeg(1))


# source: aimagelab/CHAIR-DPO a649f6d, create_preference_dataset_llavamore.py and chair_modeling.py `get_annotations`.
def chair_dpo(folder: Path) -> None:
    turns = [{"from": "human", "value": f"<image>\n{QUESTION}"}]
    more = [*turns, {"from": "gpt", "value": GOOD}, {"from": "human", "value": "And on the floor?"}]
    row = {"image": "coco/train2017/000000000034.jpg", "target": GOOD}
    rows = [
        {"id": "000000000034", **row, "conversations": turns, "answer_1": BAD, "answer_2": GOOD},
        {"id": "1", **row, "conversations": more, "answer_1": "A cup.", "answer_2": "A cat and a cup."},
        {"id": "2", **row, "conversations": turns, "answer_1": GOOD, "answer_2": "A spoon."},
        {"id": "3", **row, "conversations": turns, "answer_1": GOOD, "answer_2": BAD},
    ]
    write(folder, "preference_llava/filtered_train_split_preference.json", rows)
    write(folder, "preference_llava/eval_split_preference.json", rows[:1])
    seen = ["cup", "spoon"]
    (folder / "detections.json").write_text(json.dumps({"000000000034": seen, "1": ["cup"], "2": seen}))
    (folder / "synonyms.txt").write_text("cup\nspoon\ncat, kitten\n")
    coco(folder / "images")


# source: zhyang2226/OPA-DPO db90180, opadpo/generator_models/online_generator.py `record_step_stats`.
def opa_dpo(folder: Path) -> None:
    row = {
        "query": f"<image>\n{QUESTION}",
        "image_id": "vqa-1",
        "standard_response": GOOD,
        "original_generate_response": BAD,
        "AI_generate_response": BAD,
        "AI_pseudo_response": GOOD,
        "AI_json_report": {"sentence 1": {"copied content": BAD, "rewritten content": GOOD, "score": 2}},
        "image_bytes": base64.b64encode(jpeg(1)).decode(),
    }
    rows = [
        row,
        {**row, "image_id": "vqa-2", "AI_json_report": ""},
        {**row, "image_id": "vqa-3", "AI_pseudo_response": None},
        {**row, "image_id": "vqa-4", "original_generate_response": "A cat sleeps. A cup. A cat sleeps. A cat sleeps."},
        {**row, "image_id": "vqa-5", "original_generate_response": "A red" + " cup" * 40},
    ]
    write(folder, "step1_rank0.json", rows[:2])
    write(folder, "step2_rank0.json", rows[2:])


# source: zhyang2226/OPA-DPO db90180, base_operations/make_opadpo_dataset.py: what it saves of these rows.
def opa_dpo_saved(folder: Path) -> None:
    import datasets

    row = {
        "queries": f"<image>\n{QUESTION} ASSISTANT:",
        "image_bytes": base64.b64encode(jpeg(1)).decode(),
        "standard_response": GOOD,
        "original_generate_response": BAD,
        "AI_pseudo_response": GOOD,
        "AI_json_report": '{"sentence 1": {"score": 2}}',
    }
    rows = [row, {**row, "queries": f"<image>\n{QUESTION}"}]
    datasets.Dataset.from_dict({name: [one[name] for one in rows] for name in row}).save_to_disk(folder)


# source: OpenGVLab/InternVL 2410d1d, internvl_chat/internvl/train/internvl_chat_mpo.py and
# internvl_chat_gpt_oss/shell/data/debug_mpo.json; files of the repository as its page lists them.
def mmpr(folder: Path, packed: bool = True) -> None:
    pair = {"question": QUESTION, "chosen": GOOD, "rejected": BAD}
    rows = {
        "m3cot_pairs_vqa_correctness_rules": [
            {"id": 0, "image": "train/1.png", **pair},
            {"id": 1, "image": "train/2.png", **pair, "question": f"<image>\n{QUESTION}"},
        ],
        "text_pairs": [{"id": 0, "image": "", **pair}, {"id": 1, **pair}],
        "several_pairs": [
            {"id": 0, "image": ["1.png", "2.png"], **pair, "question": f"<image><image>\n{QUESTION}"},
            {"id": 1, "image": ["1.png"], **pair, "question": f"Look at <image> there. {QUESTION}"},
        ],
    }
    roots = {"m3cot_pairs_vqa_correctness_rules": "M3CoT", "text_pairs": "none", "several_pairs": "MMIU"}
    meta = {
        name: {
            "root": f"MMPR-v1.2/images/{roots[name]}",
            "annotation": f"MMPR-v1.2/annotations/{name}.jsonl",
            "data_augment": False,
            "repeat_time": 1,
            "length": len(found),
        }
        for name, found in rows.items()
    }
    (folder / "meta.json").write_text(json.dumps(meta, indent=4))
    for name, found in rows.items():
        write(folder, f"annotations/{name}.jsonl", found)
    if packed:
        with zipfile.ZipFile(folder / "annotations.zip", "w") as archive:
            for file in sorted((folder / "annotations").iterdir()):
                archive.write(file, f"annotations/{file.name}")
                file.unlink()
        (folder / "annotations").rmdir()
    for number, name in enumerate(["M3CoT/train/1.png", "M3CoT/train/2.png", "MMIU/1.png", "MMIU/2.png"]):
        (folder / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "images" / name).write_bytes(jpeg(number))


def mmpr_unpacked(folder: Path) -> None:
    mmpr(folder, packed=False)


# source: pspdada/SENTINEL as in julyanghar/SENTINEL 905c13d, utils/get_llava_v15_data_pair.py `save_to_json`; names of
# files from docs/figures/dataset.png.
CONTEXT = "A table stands by a window."


def sentinel(folder: Path) -> None:
    pair = {"question": QUESTION, "context": CONTEXT, "y_win": GOOD, "y_lose": BAD, "type": "y+"}
    rows = {
        "2417997": [pair, {**pair, "context": ""}],
        "2382741": [{**pair, "context": None, "type": None}, {**pair, "y_lose": ""}],
        "99": [pair],
    }
    (folder / "LLaVA_v1_5_7b_SENTINEL_8_6k.json").write_text(json.dumps(rows, indent=4))
    (folder / "LLaVA_v1_5_13b_SENTINEL_7k.json").write_text(json.dumps({"1": [pair]}, indent=4))
    write(folder, "image_data.jsonl", [{"image_id": "1", "image_path": "/x/VG_100K/1.jpg", "question": QUESTION}])
    visual_genome(folder / "vg")


# source: the same, utils/get_llama_factory_data_pair.py and llamafactory/data/dataset_info.json.
def sentinel_of_qwen(folder: Path) -> None:
    row = {
        "instruction": f"<image>{QUESTION}",
        "context": CONTEXT,
        "chosen": GOOD,
        "rejected": BAD,
        "images": ["/home/somebody/visual_genome/VG_100K/2417997.jpg"],
    }
    write(folder, "Qwen2_5_VL_7B_Instruct_SENTINEL_7k.json", [row, {**row, "context": ""}])
    visual_genome(folder / "vg")


def visual_genome(folder: Path) -> None:
    for number, name in enumerate(["VG_100K/2417997.jpg", "VG_100K_2/2382741.jpg"]):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_bytes(jpeg(number))
