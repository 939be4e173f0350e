"""Animations: how long their frames are shown, and files for animations without motion."""

import io
import struct
from collections.abc import Sequence
from itertools import pairwise

from PIL import Image

_HOLD = 1500
"""Milliseconds for which the finished image of a trajectory is shown before it repeats."""

SLOWEST, FASTEST = 0.1, 60.0
"""Frames per second; browsers slow down faster animations."""


def check_fps(fps: float) -> None:
    """Raise ValueError unless browsers can show ``fps`` frames per second."""
    if not SLOWEST <= fps <= FASTEST:  # also rejects NaN
        raise ValueError(f"fps must be from {SLOWEST} to {FASTEST:g} frames per second, not {fps}.")


def frame_durations(count: int, fps: float, *, hold_last: bool) -> list[int]:
    """Return how long each of ``count`` frames is shown, in whole milliseconds.

    Their sum matches ``fps`` even if 1000 / ``fps`` is not a whole number.

    Args:
        count: the number of frames.
        fps: frames per second.
        hold_last: whether the last frame is shown for at least a second and a half.
    """
    ends = [round(1000 * k / fps) for k in range(count + 1)]
    durations = [end - start for start, end in pairwise(ends)]
    if hold_last:
        durations[-1] = max(durations[-1], _HOLD)
    return durations


def still_animation(picture: Image.Image, durations: Sequence[int], exif: Image.Exif) -> bytes:
    """Return a lossless animated WebP that shows the same picture in every frame, forever.

    libwebp merges equal frames and, if all are equal, writes a still picture without a duration.
    Here each frame after the first redraws a single pixel in the same colour.

    Args:
        picture: grey, RGB or RGBA.
        durations: of each frame, in milliseconds.
        exif: metadata; empty for none.
    """
    width, height = picture.size
    whole, pixel = (_bitstream(part) for part in (picture, picture.crop((0, 0, 1, 1))))
    frames = [_frame(whole, width, height, durations[0])]
    frames += [_frame(pixel, 1, 1, duration) for duration in durations[1:]]
    metadata = exif.tobytes().removeprefix(b"Exif\x00\x00") if exif else b""
    flags = 0x02 | (0x10 if picture.mode == "RGBA" else 0) | (0x08 if metadata else 0)
    body = b"".join(
        (
            b"WEBP",
            _chunk(b"VP8X", struct.pack("<I", flags) + _uint24(width - 1) + _uint24(height - 1)),
            _chunk(b"ANIM", bytes(6)),  # no background, repeat forever
            *frames,
            _chunk(b"EXIF", metadata) if metadata else b"",
        )
    )
    return _chunk(b"RIFF", body)


def _bitstream(picture: Image.Image) -> bytes:
    """Return the chunk with the pixels, the only one of a WebP file without metadata."""
    file = io.BytesIO()
    picture.save(file, format="webp", lossless=True, exact=True)
    return file.getvalue()[12:]


def _frame(bitstream: bytes, width: int, height: int, duration: int) -> bytes:
    size = _uint24(width - 1) + _uint24(height - 1)
    no_blending = b"\x02"
    header = bytes(6) + size + _uint24(duration) + no_blending  # in the upper left corner
    return _chunk(b"ANMF", header + bitstream)


def _chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)


def _uint24(value: int) -> bytes:
    return struct.pack("<I", value)[:3]
