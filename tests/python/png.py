"""Makes pictures small: of a screenshot the 256 colours that it has most of, the others as the nearest of these."""

import collections
import functools
import struct
import zlib
from pathlib import Path

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def shrink(path: Path) -> None:
    """Rewrites a PNG of 8-bit colours as one with a palette."""
    width, height, lines = _read(path.read_bytes())
    pixels = [line[at : at + 3] for line in lines for at in range(0, len(line), len(line) // width)]
    counted = [colour for colour, _ in collections.Counter(pixels).most_common()]
    # One of each kind first, so that thin lines keep their colour.
    kinds = {}
    for colour in counted:
        kinds.setdefault(tuple(part >> 5 for part in colour), colour)
    frequent = list(dict.fromkeys([*list(kinds.values())[:128], *counted]))[:256]
    index = {colour: number for number, colour in enumerate(frequent)}

    @functools.cache
    def nearest(colour):
        far = [sum((one - other) ** 2 for one, other in zip(colour, known, strict=True)) for known in frequent]
        return far.index(min(far))

    numbers = bytes(index[pixel] if pixel in index else nearest(pixel) for pixel in pixels)
    rows = b"".join(b"\0" + numbers[row * width : (row + 1) * width] for row in range(height))
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
        (b"PLTE", b"".join(frequent)),
        (b"IDAT", zlib.compress(rows, 9)),
        (b"IEND", b""),
    ]
    path.write_bytes(SIGNATURE + b"".join(_chunk(kind, data) for kind, data in chunks))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _read(png: bytes):
    """Its width, its height, and its lines of bytes."""
    at, packed = len(SIGNATURE), b""
    while at < len(png):
        (length,), kind = struct.unpack(">I", png[at : at + 4]), png[at + 4 : at + 8]
        data = png[at + 8 : at + 8 + length]
        if kind == b"IHDR":
            width, height, depth, colours = struct.unpack(">IIBB", data[:10])
            assert depth == 8 and colours in (2, 6), "a screenshot has 8 bits of each colour"
            size = 3 if colours == 2 else 4
        elif kind == b"IDAT":
            packed += data
        at += length + 12
    raw, lines, above = zlib.decompress(packed), [], bytes(width * size)
    for row in range(height):
        begin = row * (width * size + 1)
        above = _unfiltered(raw[begin], bytearray(raw[begin + 1 : begin + 1 + width * size]), above, size)
        lines.append(above)
    return width, height, lines


def _unfiltered(kind: int, line: bytearray, above: bytes, size: int) -> bytes:
    """Section 9 of the PNG specification."""
    for at in range(len(line)):
        left = line[at - size] if at >= size else 0
        corner = above[at - size] if at >= size else 0
        if kind == 1:
            line[at] = (line[at] + left) & 255
        elif kind == 2:
            line[at] = (line[at] + above[at]) & 255
        elif kind == 3:
            line[at] = (line[at] + (left + above[at]) // 2) & 255
        elif kind == 4:
            guess = left + above[at] - corner
            near = min((abs(guess - it), order, it) for order, it in enumerate((left, above[at], corner)))
            line[at] = (line[at] + near[2]) & 255
    return bytes(line)
