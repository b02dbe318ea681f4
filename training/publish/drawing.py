"""A sheet to draw charts on, as a PNG of a few kilobytes: lines, boxes, dots and words, without matplotlib.

    sheet = Sheet(640, 400)
    sheet.line([(60, 40), (600, 40)], colour=GRID); sheet.words((320, 20), "loss", anchor="mm")
    sheet.png()                      # bytes

Coordinates are pixels from the top left at single size; the sheet is drawn larger and scaled down, so that
lines are smooth and the picture is sharp on dense screens. The font that comes with Pillow knows ASCII alone,
so `drawable` says what of a word can be drawn. Knows nothing about what is charted.
"""

import io
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

from PIL import Image, ImageDraw, ImageFont

Point = tuple[float, float]
Colour = tuple[int, int, int]

PAPER: Colour = (255, 255, 255)
INK: Colour = (31, 35, 40)
FAINT: Colour = (101, 109, 118)
GRID: Colour = (222, 226, 230)
BLUE: Colour = (0, 90, 181)
ORANGE: Colour = (204, 85, 0)
GREY: Colour = (140, 149, 159)
_DRAWN, _KEPT = 4, 2  # drawn at four times the size, kept at twice it


@lru_cache(maxsize=16)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size * _DRAWN)


def drawable(word: str, *, instead: str, most: int = 16) -> str:
    """Return what of a word the font can draw: without accents, cut; `instead` where letters are missing."""
    bare = unicodedata.normalize("NFKD", word)
    bare = "".join(character for character in bare if not unicodedata.combining(character)).strip()
    if not bare or not bare.isascii() or not bare.isprintable():
        return instead
    return bare if len(bare) <= most else f"{bare[: most - 2]}.."


def blend(share: float, colour: Colour, *, onto: Colour = PAPER) -> Colour:
    """Return a colour at a share of its strength, 0 to 1."""
    red, green, blue = (round(b + (c - b) * share) for c, b in zip(colour, onto, strict=True))
    return red, green, blue


class Sheet:
    """A white sheet of so many pixels."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._image = Image.new("RGB", (width * _DRAWN, height * _DRAWN), PAPER)
        self._draw = ImageDraw.Draw(self._image)

    def line(self, points: Sequence[Point], *, colour: Colour = INK, width: float = 1.0) -> None:
        """Draw a line through points."""
        if len(points) > 1:
            self._draw.line([self._at(p) for p in points], colour, round(width * _DRAWN), joint="curve")

    def dashes(self, start: Point, end: Point, *, colour: Colour, width: float = 1.0, each: int = 30) -> None:
        """Draw a broken line in so many pieces."""
        (x0, y0), (x1, y1) = start, end
        for place in range(0, 2 * each, 2):
            here, there = place / (2 * each), (place + 1) / (2 * each)
            piece = [(x0 + (x1 - x0) * t, y0 + (y1 - y0) * t) for t in (here, there)]
            self.line(piece, colour=colour, width=width)

    def box(self, corner: Point, opposite: Point, *, fill: Colour, outline: Colour | None = None) -> None:
        """Draw a filled box."""
        self._draw.rectangle([self._at(corner), self._at(opposite)], fill, outline, _DRAWN if outline else 0)

    def dot(self, centre: Point, *, colour: Colour, radius: float = 3.5) -> None:
        """Draw a filled circle."""
        x, y = centre
        self._draw.ellipse([self._at((x - radius, y - radius)), self._at((x + radius, y + radius))], colour)

    def words(
        self, place: Point, words: str, *, colour: Colour = INK, size: int = 13, anchor: str = "lm"
    ) -> None:
        """Write ASCII words; `anchor` as Pillow has it: l, m or r, then t, m or s."""
        self._draw.text(self._at(place), words, colour, _font(size), anchor)

    def upright(self, place: Point, words: str, *, colour: Colour = INK, size: int = 13) -> None:
        """Write words from bottom to top, centred at a place."""
        font = _font(size)
        left, top, right, bottom = font.getbbox(words)
        strip = Image.new("L", (int(right - left) + 8, int(bottom - top) + 8), 0)
        ImageDraw.Draw(strip).text((4 - left, 4 - top), words, 255, font)
        strip = strip.rotate(90, expand=True)
        x, y = self._at(place)
        corner = (round(x - strip.width / 2), round(y - strip.height / 2))
        self._image.paste(Image.new("RGB", strip.size, colour), corner, strip)

    def png(self) -> bytes:
        """Return the sheet as a PNG of 64 colours, at twice its size in pixels."""
        size = (self.width * _KEPT, self.height * _KEPT)
        small = self._image.resize(size, Image.Resampling.LANCZOS)
        out = io.BytesIO()
        small.quantize(64, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
        return out.getvalue()

    def _at(self, point: Point) -> Point:
        return point[0] * _DRAWN, point[1] * _DRAWN
