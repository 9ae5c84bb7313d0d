"""How images that were saved again are recognised: python scripts/check_near_duplicates.py [--pictures N] [--json].

Pictures of several kinds are drawn by a seed. *Called copies* are those that `--exclude-images-of` would leave out
because another picture of their kind, of which there are N - 1, is called the same. *Missed* are copies that are not
recognised: the picture compressed, converted, scaled, brightened, or trimmed at its edges. With --json the numbers are
printed as one JSON object, which is what scripts/check_near_duplicates.json holds.
"""

from __future__ import annotations

import argparse
import io
import json
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mmpref.data.perceptual_hash import NearIndex, PerceptualHash
from mmpref.types import ImageData

SEED = 7
SIZE = (480, 360)
COLOURS = [(31, 119, 180), (255, 127, 14), (44, 160, 44), (214, 39, 40)]
WORDS = [
    "the",
    "of",
    "and",
    "to",
    "in",
    "is",
    "that",
    "for",
    "it",
    "as",
    "was",
    "with",
    "be",
    "by",
    "on",
    "not",
    "he",
    "his",
    "but",
    "at",
    "are",
    "this",
    "have",
    "from",
    "or",
    "had",
    "an",
    "they",
    "which",
    "one",
    "you",
    "were",
    "their",
    "would",
    "there",
    "people",
    "something",
    "government",
    "between",
    "another",
]
Random = np.random.Generator
Drawing = Callable[[Random], Image.Image]


def photo(random: Random) -> Image.Image:
    """Noise whose spectrum falls as that of photographs does, in colour, with some things before it."""
    width, height = SIZE
    radius = np.hypot(np.fft.fftfreq(height)[:, None] * height, np.fft.rfftfreq(width)[None] * width)
    radius[0, 0] = 1
    fall = random.uniform(1.0, 1.6)
    channels = [
        np.fft.irfft2(
            (random.normal(size=radius.shape) + 1j * random.normal(size=radius.shape)) / radius**fall, s=(height, width)
        )
        for _ in range(3)
    ]
    pixels = np.stack(channels, axis=-1)
    grey = random.uniform(0.3, 0.9)
    pixels = grey * pixels.mean(axis=-1, keepdims=True) + (1 - grey) * pixels
    pixels = (pixels - pixels.mean()) / pixels.std() * random.uniform(35, 60) + random.uniform(90, 160)
    picture = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    for _ in range(random.integers(2, 8)):
        (x, y), (w, h) = random.integers(0, SIZE), random.integers(20, 200, 2)
        shape = draw.ellipse if random.random() < 0.5 else draw.rectangle
        shape((x, y, x + w, y + h), fill=tuple(int(v) for v in random.integers(0, 256, 3)))
    return picture


def product(random: Random) -> Image.Image:
    """A thing in the middle of white."""
    picture, (width, height) = Image.new("RGB", SIZE, "white"), random.integers(120, 290, 2).tolist()
    mask = Image.new("L", (width, height), 0)
    ImageDraw.Draw(mask).ellipse((0, 0, width, height), fill=255)
    picture.paste(photo(random).resize((width, height)), ((SIZE[0] - width) // 2, (SIZE[1] - height) // 2), mask)
    return picture


def axes() -> tuple[Image.Image, ImageDraw.ImageDraw]:
    picture = Image.new("RGB", SIZE, "white")
    draw = ImageDraw.Draw(picture)
    draw.line((50, 20, 50, 320, 460, 320), fill="black", width=2)
    for tick in range(6):
        draw.text((15, 313 - tick * 58), str(tick * 20), fill="black")
    return picture, draw


def bars(random: Random) -> Image.Image:
    picture, draw = axes()
    for number, name in enumerate("ABCDEF"):
        left = 70 + number * 65
        draw.rectangle((left, 320 - random.uniform(10, 290), left + 40, 320), fill=COLOURS[0])
        draw.text((left + 10, 325), name, fill="black")
    return picture


def lines(random: Random) -> Image.Image:
    picture, draw = axes()
    heights = np.clip(170 + np.cumsum(random.normal(0, 12, 40)), 25, 315)
    draw.line([(55 + 10 * step, float(height)) for step, height in enumerate(heights)], fill=COLOURS[0], width=2)
    return picture


def pie(random: Random) -> Image.Image:
    picture, begin = Image.new("RGB", SIZE, "white"), 0.0
    for share, colour in zip(random.dirichlet([2] * 4), COLOURS, strict=True):
        ImageDraw.Draw(picture).pieslice((120, 60, 360, 300), begin, begin + share * 360, fill=colour)
        begin += share * 360
    return picture


def page(random: Random) -> Image.Image:
    picture = Image.new("RGB", (480, 640), "white")
    draw, font, y = ImageDraw.Draw(picture), ImageFont.load_default(12), 50
    while y < 590:
        count = random.integers(3, 8)
        for number in range(count):
            x, end = 50.0, 430 if number < count - 1 else random.integers(120, 430)
            while y < 590:
                word = f"{random.choice(WORDS)} "
                if x + (width := draw.textlength(word, font=font)) > end:
                    break
                draw.text((x, y), word, fill="black", font=font)
                x += width
            y += 16
        y += 8
    return picture


def form(random: Random) -> Image.Image:
    picture = Image.new("RGB", SIZE, "white")
    draw = ImageDraw.Draw(picture)
    for number, name in enumerate(("Name", "Street", "City", "Zip", "Phone", "Mail", "Date", "Sign")):
        draw.text((20, 20 + number * 40), f"{name}:", fill="black")
        draw.line((90, 32 + number * 40, 440, 32 + number * 40), fill="black")
        draw.text((95, 20 + number * 40), " ".join(random.choice(WORDS, random.integers(1, 6))), fill="black")
    return picture


def grid(random: Random) -> Image.Image:
    picture = Image.new("RGB", SIZE, "white")
    draw = ImageDraw.Draw(picture)
    for row in range(9):
        draw.line((20, 20 + row * 40, 460, 20 + row * 40), fill="black")
    for column in range(6):
        draw.line((20 + column * 88, 20, 20 + column * 88, 340), fill="black")
    for row in range(8):
        for column in range(5):
            number = str(random.integers(0, 10 ** random.integers(1, 8)))
            draw.text((30 + column * 88, 32 + row * 40), number, fill="black")
    return picture


def gradient(random: Random) -> Image.Image:
    first, last = random.uniform(0, 255, (2, 3))
    share = np.linspace(0, 1, SIZE[1])[:, None, None]
    return Image.fromarray(np.broadcast_to(first + share * (last - first), (SIZE[1], SIZE[0], 3)).astype(np.uint8))


def flat(random: Random) -> Image.Image:
    return Image.new("RGB", SIZE, tuple(int(value) for value in random.integers(0, 256, 3)))


KINDS: dict[str, Drawing] = {
    "photographs": photo,
    "things on white": product,
    "bar charts": bars,
    "line charts": lines,
    "pie charts": pie,
    "pages of text": page,
    "forms filled in": form,
    "tables of numbers": grid,
    "gradients": gradient,
    "flat colours": flat,
}


def saved(picture: Image.Image, kind: str = "PNG", **options: Any) -> ImageData:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return ImageData(buffer.getvalue())


def scaled(picture: Image.Image, factor: float) -> Image.Image:
    width, height = picture.size
    return picture.resize((int(width * factor), int(height * factor)), Image.Resampling.LANCZOS)


def trimmed(share: float) -> Callable[[Image.Image], ImageData]:
    def trim(picture: Image.Image) -> ImageData:
        width, height = picture.size
        x, y = int(width * share / 2), int(height * share / 2)
        return saved(picture.crop((x, y, width - x, height - y)))

    return trim


CHANGES: dict[str, Callable[[Image.Image], ImageData]] = {
    "JPEG 90": lambda picture: saved(picture, "JPEG", quality=90),
    "JPEG 20": lambda picture: saved(picture, "JPEG", quality=20),
    "WebP 50": lambda picture: saved(picture, "WEBP", quality=50),
    "GIF": lambda picture: saved(picture, "GIF"),
    "twice": lambda picture: saved(scaled(picture, 2)),
    "half": lambda picture: saved(scaled(picture, 0.5)),
    "a quarter": lambda picture: saved(scaled(picture, 0.25)),
    "0.6, JPEG 60": lambda picture: saved(scaled(picture, 0.6), "JPEG", quality=60),
    "336 x 336": lambda picture: saved(picture.resize((336, 336), Image.Resampling.BICUBIC)),
    "brighter": lambda picture: saved(picture.point(lambda value: min(255, round(value * 1.2)))),
    "1 % off": trimmed(0.01),
    "2 % off": trimmed(0.02),
    "5 % off": trimmed(0.05),
    "10 % off": trimmed(0.1),
}


def measure(pictures: int, changed: int, changes: Sequence[str] = tuple(CHANGES)) -> dict[str, Any]:
    """Shares of pictures that are called copies, and of copies that are missed, by kind.

    Args:
        pictures: of each kind, that are compared with each other.
        changed: the first of these of which changed copies are looked for among all.
        changes: which changes, of `CHANGES`.
    """
    kinds: dict[str, Any] = {}
    hashed = spent = 0.0
    for name, draw in KINDS.items():
        drawn = [draw(np.random.default_rng([SEED, number])) for number in range(pictures)]
        files = [saved(picture) for picture in drawn]
        began = time.perf_counter()
        hashes = [PerceptualHash.of(file) for file in files]
        spent, hashed = spent + time.perf_counter() - began, hashed + pictures
        index = NearIndex(hashes)
        near = [set(index.near(one)) - {number} for number, one in enumerate(hashes)]
        kinds[name] = {
            "called copies": sum(bool(others) for others in near) / pictures,
            "pairs": sum(map(len, near)) / (pictures * (pictures - 1)),
            "missed": {
                change: sum(
                    number not in index.near(PerceptualHash.of(CHANGES[change](drawn[number])))
                    for number in range(changed)
                )
                / changed
                for change in changes
            },
        }
    return {"pictures": pictures, "changed": changed, "seed": SEED, "images a second": hashed / spent, "kinds": kinds}


def table(found: dict[str, Any]) -> str:
    """The numbers as a table in Markdown."""
    head = ["", "called copies", *CHANGES]
    rows = [
        [name, f"{kind['called copies']:.1%}", *(f"{kind['missed'][change]:.0%}" for change in CHANGES)]
        for name, kind in found["kinds"].items()
    ]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=120, metavar="N")
    parser.add_argument("--changed", type=int, default=25, metavar="N")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = measure(options.pictures, min(options.changed, options.pictures))
    print(json.dumps(found, indent=2) if options.json else table(found))


if __name__ == "__main__":
    main()
