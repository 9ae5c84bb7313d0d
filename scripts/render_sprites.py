"""Draw the testbed's sprites from an emoji font: python scripts/render_sprites.py [FONT].

FONT is Noto Color Emoji (Debian's package fonts-noto-color-emoji). Writes mmpref/testbed/sprites/things.png: 32 x 32
RGBA, ten a row, in the order of mmpref.testbed.things.THINGS.
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

sys.path.insert(0, str(Path(__file__).parents[1]))

from mmpref.testbed.things import FAMILIES

FONT = "/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf"
TARGET = Path(__file__).parents[1] / "mmpref" / "testbed" / "sprites" / "things.png"
SIDE, COLUMNS = 32, 10
STRIKE = 109
"""The one size, in pixels, that the font's pictures have."""


LEFT_HALF = "🍴"
"""There is no emoji of a fork alone: this one has a knife on its right."""


def sprite(emoji: str, font: ImageFont.FreeTypeFont) -> Image.Image:
    """One emoji, cut out, centred and scaled to fill ``SIDE`` x ``SIDE`` but for a pixel all around."""
    canvas = Image.new("RGBA", (2 * STRIKE, 2 * STRIKE))
    ImageDraw.Draw(canvas).text((10, 10), emoji, font=font, embedded_color=True)
    cut = canvas.crop(canvas.getbbox())
    if cut.width > 1.5 * STRIKE:
        raise SystemExit(f"{emoji!r} is no single picture in this font.")
    if emoji == LEFT_HALF:
        cut = cut.crop((0, 0, cut.width // 2, cut.height))
        cut = cut.crop(cut.getbbox())
    scale = (SIDE - 2) / max(cut.size)
    small = cut.resize((max(1, round(cut.width * scale)), max(1, round(cut.height * scale))), Image.Resampling.LANCZOS)
    tile = Image.new("RGBA", (SIDE, SIDE))
    tile.paste(small, ((SIDE - small.width) // 2, (SIDE - small.height) // 2))
    return tile


def main() -> None:
    font = ImageFont.truetype(sys.argv[1] if len(sys.argv) > 1 else FONT, STRIKE)
    pictures = [emoji for family in FAMILIES.values() for emoji in family.values()]
    rows = -(-len(pictures) // COLUMNS)
    sheet = Image.new("RGBA", (COLUMNS * SIDE, rows * SIDE))
    for number, emoji in enumerate(pictures):
        sheet.paste(sprite(emoji, font), (number % COLUMNS * SIDE, number // COLUMNS * SIDE))
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(TARGET, optimize=True)


if __name__ == "__main__":
    main()
