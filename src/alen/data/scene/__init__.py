"""A still life at night, rendered by the program itself: the scene behind ``alen sample``.

A desk by a window, lit by a warm lamp, a candle, a neon sign and the city: wood grain, woven cloth, books with
readable spines, a color checker, printed charts, leaves, a glazed ball, smooth dark sky. Every kind of detail that a
low-light enhancer can lose stands somewhere in it, next to lamps about a hundred times brighter than middle gray.

The picture is a small deferred renderer. The world is measured in units of the frame's height at depth `view.FOCAL`:
x to the right, y down, z into the picture; the camera stands at the origin and looks along z, with the lens shifted
so that verticals stay vertical. Objects are painted back to front; flat ones are textures warped by their homography,
round ones are intersected with the rays of their pixels. Light is computed on a coarse grid by shadow rays to area
lights and to the sky, in scene-linear sRGB. The reflection in the varnished table is the same scene seen by the
mirrored camera.

`canvas`, `view`, `light`, `textures` and `painters` are the renderer; `arrangement` says where everything stands;
`prints`, `window`, `room`, `books`, `plant`, `still_life` and `reflection` paint it; `night` puts it together.
"""

from alen.data.scene.night import night_scene
from alen.data.scene.prints import COLOR_CHECKER_SRGB

__all__ = ["COLOR_CHECKER_SRGB", "night_scene"]
