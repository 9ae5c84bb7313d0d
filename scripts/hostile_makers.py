"""What `hostile_inputs.py` gives to readers: values, rows, files of every container and pictures, whole and changed."""

from __future__ import annotations

import base64
import csv
import gzip
import io
import json
import os
import random
import tarfile
import zlib
from pathlib import Path
from typing import Any

WORDS: dict[str, list[str]] = json.loads(Path(__file__).with_name("hostile_inputs.json").read_text(encoding="utf-8"))
"""What inputs are made of: texts, names of columns, keys of messages, recipes, replies and names of files."""
TEXTS = WORDS["texts"]
SCALARS = (
    None,
    True,
    False,
    0,
    -1,
    10**30,
    1.5,
    float("nan"),
    float("inf"),
    b"",
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff",
)
COLUMNS = WORDS["columns"]
KEYS = WORDS["keys"]


def any_value(rng: random.Random, depth: int = 3) -> Any:
    """A cell as no publisher would make it."""
    kind = rng.random()
    if depth == 0 or kind < 0.45:
        return rng.choice(TEXTS)
    if kind < 0.6:
        return rng.choice(SCALARS)
    if kind < 0.8:
        return [any_value(rng, depth - 1) for _ in range(rng.randrange(4))]
    return {rng.choice(KEYS): any_value(rng, depth - 1) for _ in range(rng.randrange(4))}


def any_row(rng: random.Random) -> dict[str, Any]:
    return {rng.choice(COLUMNS): any_value(rng) for _ in range(rng.randrange(1, 7))}


def good_rows() -> list[dict[str, Any]]:
    image = base64.b64encode(picture("PNG")).decode()
    return [
        {"id": str(number), "image": image, "question": f"What is it, {number}?", "answer": 'A dog, "brown".'}
        for number in range(4)
    ]


def picture(form: str, size: tuple[int, int] = (9, 7), **options: Any) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", size, (200, 30, 90)).save(file, form, **options)
    return file.getvalue()


def changed(rng: random.Random, content: bytes) -> bytes:
    """The bytes with some of them changed, left out, repeated or cut off."""
    data = bytearray(content)
    for _ in range(rng.randrange(1, 6)):
        if not data:
            break
        place, length = rng.randrange(len(data)), rng.randrange(1, 9)
        how = rng.randrange(6)
        if how == 0:
            data[place] = rng.randrange(256)
        elif how == 1:
            del data[place : place + length]
        elif how == 2:
            data[place:place] = rng.randbytes(length)
        elif how == 3:
            data[place:place] = data[place : place + 200]
        elif how == 4:
            del data[place:]
        else:
            data[place:place] = rng.choice([b"\0", b"\xff\xfe", b'"', b"{", b"]", b"\n", b",", b"\r", b"}{"])
    return bytes(data)


def containers(folder: Path) -> dict[str, bytes]:
    """The same rows in a file of every kind that is read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = good_rows()
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    pq.write_table(pa.Table.from_pylist(rows), folder / "good.parquet")
    stream, indexed, shard = pa.BufferOutputStream(), pa.BufferOutputStream(), io.BytesIO()
    table = pa.Table.from_pylist(rows)
    with pa.ipc.new_stream(stream, table.schema) as arrow:
        arrow.write_table(table)
    with pa.ipc.new_file(indexed, table.schema) as arrow:
        arrow.write_table(table)
    with tarfile.open(fileobj=shard, mode="w") as tar:
        for number in range(3):
            for ending, content in (("png", picture("PNG")), ("json", json.dumps(rows[number]).encode())):
                member = tarfile.TarInfo(f"{number}.{ending}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    coco = {
        "images": [{"id": 1, "file_name": "a.png"}],
        "annotations": [{"image_id": 1, "caption": "A dog."}],
    }
    parquet = (folder / "good.parquet").read_bytes()
    os.unlink(folder / "good.parquet")
    return {
        "jsonl": lines.encode(),
        "json": json.dumps(rows, indent=1).encode(),
        "coco.json": json.dumps(coco, indent=1).encode(),
        "csv": text.getvalue().encode(),
        "tsv": text.getvalue().replace(",", "\t").encode("utf-16"),
        "jsonl.gz": gzip.compress(lines.encode()),
        "parquet": parquet,
        "stream.arrow": stream.getvalue().to_pybytes(),
        "arrow": indexed.getvalue().to_pybytes(),
        "tar": shard.getvalue(),
        "tar.gz": gzip.compress(shard.getvalue()),
    }


def odd_pictures() -> dict[str, bytes]:
    """Pictures that are right, and such as no decoder expects."""
    from PIL import Image

    def png(width: int, height: int) -> bytes:
        """A bomb: the sizes are a lie, or the pixels are all alike."""
        head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x02\0\0\0"
        body = zlib.compress(b"\0" * 1000)
        parts = [(b"IHDR", head), (b"IDAT", body), (b"IEND", b"")]
        chunks = (
            len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")
            for kind, data in parts
        )
        return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)

    frames = [Image.new("P", (8, 8), number) for number in range(30)]
    animated: dict[str, bytes] = {}
    for form in ("GIF", "WEBP", "PNG", "TIFF"):
        file = io.BytesIO()
        shown = frames if form == "GIF" else [frame.convert("RGB") for frame in frames]
        shown[0].save(file, form, save_all=True, append_images=shown[1:])
        animated[f"animated {form}"] = file.getvalue()
    exif = Image.Exif()
    exif[0x0112] = 99
    exif[0x010E] = "x" * 5000
    return {
        **{form: picture(form) for form in ("PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP", "PPM", "ICO", "TGA")},
        **animated,
        "bomb 60000 x 60000": png(60000, 60000),
        "bomb 2^31": png(2**31 - 1, 2**31 - 1),
        "no side": png(0, 0),
        "lying 4000 x 4000": png(4000, 4000),
        "20000 x 1": picture("PNG", (20000, 1)),
        "1 x 20000": picture("PNG", (1, 20000)),
        "orientation 99": picture("JPEG", exif=exif),
        "orientation cut": picture("JPEG", exif=exif.tobytes()[:40]),
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
        "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) (r) file\nshowpage\n",
        "html": b"<html>404 not found</html>",
        "empty": b"",
    }
