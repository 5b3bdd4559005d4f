"""Pictures of a tiled sphere, drawn equirectangular: tiles by quality, and views outlined."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from netllm_gym.envs.viewport.tiles import TileGrid
from netllm_gym.traces.head.geometry import lonlat_to_vector, vector_to_lonlat

WIDTH, HEIGHT = 512, 256
STRIP = 44  # height of the legend below the sphere: divisible by two, as video codecs want it
_HOLE, _LOW, _HIGH = np.array([40, 40, 40]), np.array([226, 237, 248]), np.array([33, 102, 172])
_TRUE, _PREDICTED = np.array([214, 39, 40]), np.array([255, 187, 0])


def outline(angles_deg: NDArray[np.float64], fov_deg: tuple[float, float], points: int = 200) -> NDArray[np.float64]:
    """Edge of a rectilinear view as ``(lon, lat)`` in degrees, shape ``[4 * points, 2]``."""
    half = np.tan(np.radians(np.array(fov_deg) / 2.0))
    t = np.linspace(-1.0, 1.0, points)
    one = np.ones(points)
    x = np.concatenate([t, one, -t, -one]) * half[0]
    y = np.concatenate([one, -t, -one, t]) * half[1]
    lon, lat, roll = np.radians(angles_deg)
    x, y = x * np.cos(roll) + y * np.sin(roll), -x * np.sin(roll) + y * np.cos(roll)
    up, ahead = y * np.cos(lat) + np.sin(lat), -y * np.sin(lat) + np.cos(lat)
    side, front = x * np.cos(lon) + ahead * np.sin(lon), -x * np.sin(lon) + ahead * np.cos(lon)
    return vector_to_lonlat(np.stack([side, up, front], axis=-1))


@cache
def _tile_of_pixels(grid: TileGrid) -> NDArray[np.int64]:
    """Tile that each pixel of the picture shows, ``[256, 512]``."""
    lat = 90.0 - 180.0 * (np.arange(HEIGHT) + 0.5) / HEIGHT
    lon = -180.0 + 360.0 * (np.arange(WIDTH) + 0.5) / WIDTH
    return grid.tile_of(lonlat_to_vector(*np.meshgrid(lon, lat)))


def draw(
    grid: TileGrid,
    levels: NDArray[np.int64],
    ladder: int,
    truth_deg: NDArray[np.float64],
    predicted_deg: NDArray[np.float64] | None,
    fov_deg: tuple[float, float],
) -> NDArray[np.uint8]:
    """Draw tiles (white to blue by quality, dark where skipped), the true view (red) and the predicted one
    (yellow).

    Returns:
        RGB image, uint8 ``[256, 512, 3]``.
    """
    tile = _tile_of_pixels(grid)
    level = levels[tile]
    share = np.clip(level / max(ladder - 1, 1), 0.0, 1.0)[..., None]
    image = np.where(level[..., None] < 0, _HOLE, _LOW + share * (_HIGH - _LOW))
    image[1:][tile[1:] != tile[:-1]] *= 0.8
    image[:, 1:][tile[:, 1:] != tile[:, :-1]] *= 0.8
    for angles, colour in ((predicted_deg, _PREDICTED), (truth_deg, _TRUE)):
        if angles is None:
            continue
        edge = outline(angles, fov_deg)
        x = ((edge[:, 0] / 360.0 + 0.5) * WIDTH).astype(int) % WIDTH
        y = np.clip(((0.5 - edge[:, 1] / 180.0) * HEIGHT).astype(int), 0, HEIGHT - 1)
        for dx in (0, 1):
            for dy in (0, 1):
                image[np.minimum(y + dy, HEIGHT - 1), (x + dx) % WIDTH] = colour
    return image.astype(np.uint8)


def draw_paths(
    history_deg: NDArray[np.float64],
    truth_deg: NDArray[np.float64] | None,
    predicted_deg: NDArray[np.float64] | None,
    fov_deg: tuple[float, float] = (100.0, 100.0),
    others_deg: NDArray[np.float64] | None = None,
) -> NDArray[np.uint8]:
    """Draw where a viewer looked (black), where he looked next (red) and what was predicted (yellow), on the sphere.

    Args:
        history_deg, truth_deg, predicted_deg: canonical angles ``[n, 3]``; the views are outlined at each path's end.
        fov_deg: width and height of the view.
        others_deg: places of earlier viewers now, ``[K, 3]``, as blue dots.

    Returns:
        RGB image, uint8 ``[256, 512, 3]``: the equirectangular frame, longitude 0 in the middle.
    """
    image = np.full((HEIGHT, WIDTH, 3), 245.0)
    image[HEIGHT // 2], image[:, WIDTH // 2] = 215, 215
    image[[HEIGHT // 4, 3 * HEIGHT // 4]] = 230
    image[:, [WIDTH // 4, 3 * WIDTH // 4]] = 230

    def put(angles: NDArray[np.float64], colour: NDArray[np.int64], size: int) -> None:
        x = ((angles[:, 0] / 360.0 + 0.5) * WIDTH).astype(int)
        y = ((0.5 - np.clip(angles[:, 1], -90.0, 90.0) / 180.0) * HEIGHT).astype(int)
        for dx in range(-size, size + 1):
            for dy in range(-size, size + 1):
                image[np.clip(y + dy, 0, HEIGHT - 1), (x + dx) % WIDTH] = colour

    if others_deg is not None:
        put(others_deg, _HIGH, 1)
    put(history_deg, np.array([60, 60, 60]), 1)
    for path, colour in ((predicted_deg, _PREDICTED), (truth_deg, _TRUE)):
        if path is not None:
            put(path, colour, 1)
            put(outline(path[-1], fov_deg), colour, 0)
    return image.astype(np.uint8)


Entry = tuple[str, NDArray[np.int64]]


@cache
def _strip(entries: tuple[tuple[str, tuple[int, ...]], ...], width: int) -> NDArray[np.uint8]:
    """Draw boxes with their words, in rows."""
    from PIL import Image, ImageDraw, ImageFont

    image = Image.new("RGB", (width, STRIP), (255, 255, 255))
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(12)
    x, y = 6, 5
    for text, colour in entries:
        length = 18 + int(pen.textlength(text, font=font)) + 12
        if x + length > width and x > 6:
            x, y = 6, y + 19
        pen.rectangle((x, y + 1, x + 12, y + 13), fill=colour, outline=(90, 90, 90))
        pen.text((x + 17, y), text, fill=(30, 30, 30), font=font)
        x += length
    return np.asarray(image)


def with_legend(image: NDArray[np.uint8], entries: Sequence[Entry]) -> NDArray[np.uint8]:
    """Return the image with a strip below it that says what the colours mean.

    Args:
        image: RGB, uint8 ``[height, width, 3]``.
        entries: words and their colour.

    Returns:
        RGB image, uint8 ``[height + 44, width, 3]``.
    """
    plain = tuple((text, tuple(int(c) for c in colour)) for text, colour in entries)
    return np.vstack([image, _strip(plain, image.shape[1])])


def tile_legend(ladder: int, predicted: bool) -> list[Entry]:
    """Say what the colours of :func:`draw` mean, for tiles of `ladder` qualities."""
    named = []
    for k in range(ladder):
        word = "lowest quality" if k == 0 else "highest" if k == ladder - 1 else str(k + 1)
        named.append((word, (_LOW + k / max(ladder - 1, 1) * (_HIGH - _LOW)).astype(np.int64)))
    entries = [("not fetched", _HOLE), *named, ("true view", _TRUE)]
    return [*entries, *([("predicted", _PREDICTED)] if predicted else [])]


def path_legend(others: bool) -> list[Entry]:
    """Say what the colours of :func:`draw_paths` mean."""
    entries = [("looked", np.array([60, 60, 60])), ("looks next", _TRUE), ("predicted", _PREDICTED)]
    return [*entries, *([("earlier viewers", _HIGH)] if others else [])]
