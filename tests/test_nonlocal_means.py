"""Non-local means against its formula, written out pixel by pixel, and against scikit-image."""

import struct
from collections.abc import Callable

import numpy as np
import pytest
from skimage.restoration import denoise_nl_means

from alen.classical.nonlocal_means import FilterSettings, nonlocal_means, nonlocal_weights, recommended_settings
from alen.errors import SettingsError
from alen.metrics import psnr


def _mirrored(index: int, size: int) -> int:
    """The pixel that stands at an index beyond the edge: … 2 1 | 0 1 2 … n−1 | n−2 …."""
    if size == 1:
        return 0
    index %= 2 * (size - 1)
    return min(index, 2 * (size - 1) - index)


def _exponents(
    guide: np.ndarray, y: int, x: int, settings: FilterSettings, h: float, kernel: np.ndarray
) -> dict[tuple[int, int], float]:
    """max(d² − 2σ², 0)/h² for every offset of the window around one pixel but the center's."""
    height, width, _ = guide.shape
    half, reach = settings.patch // 2, settings.window // 2
    steps = range(-half, half + 1)

    def patch(row: int, column: int) -> np.ndarray:
        return np.array(
            [[guide[_mirrored(row + i, height), _mirrored(column + j, width)] for j in steps] for i in steps]
        )

    here = patch(y, x)
    exponents = {}
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            if dy == dx == 0:
                continue
            d2 = np.sum(kernel[:, :, None] * (here - patch(y + dy, x + dx)) ** 2) / guide.shape[2]
            exponents[dy, dx] = max(d2 - 2 * settings.sigma**2, 0) / h**2
    return exponents


def _uniform(side: int) -> np.ndarray:
    return np.full((side, side), 1 / side**2)


def _gaussian(side: int, sigma: float) -> np.ndarray:
    i = np.arange(side) - side // 2
    kernel = np.exp(-(i[:, None] ** 2 + i**2) / (2 * sigma**2))
    return kernel / kernel.sum()


def _written_out(image: np.ndarray, settings: FilterSettings, guide: np.ndarray | None = None) -> np.ndarray:
    """The filter as its formula reads, in float64."""
    color = np.atleast_3d(image).astype(np.float64)
    compared = color if guide is None else np.atleast_3d(guide).astype(np.float64)
    height, width, channels = color.shape
    kernel = (
        _uniform(settings.patch) if settings.kernel_sigma is None else _gaussian(settings.patch, settings.kernel_sigma)
    )
    strengths = settings.h if isinstance(settings.h, tuple) else (settings.h,) * channels
    result = np.empty(color.shape)
    for y in range(height):
        for x in range(width):
            for c, h in enumerate(strengths):
                exponents = _exponents(compared, y, x, settings, h, kernel)
                # weights times exp(largest exponent), which leaves their mean; without it they may all vanish
                nearest = min(exponents.values())
                if np.exp(-nearest) < settings.least_weight:
                    result[y, x, c] = color[y, x, c]
                    continue
                total, weighted = 1.0, color[y, x, c]  # the center, with the largest weight of the others
                for (dy, dx), exponent in exponents.items():
                    weight = np.exp(nearest - exponent)
                    total += weight
                    weighted += weight * color[_mirrored(y + dy, height), _mirrored(x + dx, width), c]
                result[y, x, c] = weighted / total
    return result.reshape(image.shape)


def _noisy(shape: tuple[int, ...], sigma: float = 0.1, seed: int = 0) -> np.ndarray:
    """Stripes and noise in about [0, 1], float32: pixels with and without doubles."""
    rng = np.random.default_rng(seed)
    stripes = np.where(np.arange(shape[1]) // 3 % 2, 0.8, 0.2)
    clean = stripes[None, :] if len(shape) == 2 else stripes[None, :, None] * np.linspace(1, 0.5, shape[2])
    return (clean + sigma * rng.standard_normal(shape)).astype(np.float32)


@pytest.mark.parametrize("kernel_sigma", [None, 1.0])
@pytest.mark.parametrize(
    ("shape", "patch", "window"),
    [
        ((11, 13), 1, 3),
        ((7, 19), 3, 7),
        ((13, 8), 5, 5),
        ((17, 11), 7, 3),
        ((5, 6), 3, 15),  # the window is larger than the picture
        ((1, 7), 3, 5),
        ((9, 7, 3), 3, 5),
        ((8, 5, 2), 5, 7),
        ((3, 2, 1), 3, 9),
    ],
)
def test_equals_the_formula(shape: tuple[int, ...], patch: int, window: int, kernel_sigma: float | None) -> None:
    settings = FilterSettings(patch=patch, window=window, sigma=0.1, h=0.07, kernel_sigma=kernel_sigma)
    image = _noisy(shape)
    result = nonlocal_means(image, settings)
    assert result.shape == shape
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, _written_out(image, settings), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("sigma", "h"),
    [
        (0.0, 0.1),
        (0.1, 0.003),  # 2σ²/h² in the thousands: float32 would lose the difference
        (0.0, 0.004),  # hardly any pixel has a double: all weights are far below what float32 can hold
        (0.0, 1e-5),
        (0.01, 0.02),
        (3.0, 0.5),  # everything is alike: the mean of the window
    ],
)
def test_equals_the_formula_for_every_strength(sigma: float, h: float) -> None:
    settings = FilterSettings(patch=3, window=5, sigma=sigma, h=h)
    image = _noisy((10, 13))
    np.testing.assert_allclose(nonlocal_means(image, settings), _written_out(image, settings), rtol=0, atol=1e-6)


def test_equals_the_formula_with_a_guide_and_strengths() -> None:
    rng = np.random.default_rng(0)
    image = rng.random((9, 13, 3)).astype(np.float32)
    guide = rng.random((9, 13, 2)).astype(np.float32)
    settings = FilterSettings(patch=3, window=7, sigma=0.1, h=(0.1, 0.2, 0.1))
    result = nonlocal_means(image, settings, guide=guide)
    np.testing.assert_allclose(result, _written_out(image, settings, guide), rtol=0, atol=1e-6)


@pytest.mark.parametrize("least_weight", [1e-38, 1e-9, 0.5])
def test_pixels_without_a_double_may_stay(least_weight: float) -> None:
    image = _noisy((13, 11, 3))
    image[4, 5] = 7.0
    settings = FilterSettings(patch=3, window=5, sigma=0.1, h=(0.03, 0.05, 0.2), least_weight=least_weight)
    result = nonlocal_means(image, settings)
    np.testing.assert_array_equal(result[4, 5], image[4, 5])
    np.testing.assert_allclose(result, _written_out(image, settings), rtol=0, atol=1e-6)
    weights = nonlocal_weights(
        image, FilterSettings(patch=3, window=5, sigma=0.1, h=0.2, least_weight=least_weight), row=4, column=5
    )
    assert weights[2, 2] == weights.sum() == 1


def test_parts_fit_together() -> None:
    """Several tiles and several threads give what one does, and what the formula gives at their seams."""
    image = _noisy((150, 1100))
    settings = FilterSettings(patch=5, window=9, sigma=0.1, h=0.05)
    result = nonlocal_means(image, settings, threads=3)
    np.testing.assert_allclose(nonlocal_means(image, settings, threads=1), result, rtol=0, atol=1e-7)
    for y, x in [(49, 1023), (50, 1024), (0, 0), (149, 1099), (63, 500), (64, 1024)]:
        weights = nonlocal_weights(image, settings, row=y, column=x)
        padded = np.pad(image, 4, mode="reflect")
        assert result[y, x] == pytest.approx(np.sum(weights * padded[y : y + 9, x : x + 9]), abs=1e-6)


@pytest.mark.parametrize("shape", [(17, 23), (11, 13, 3)])
@pytest.mark.parametrize("value", [0.0, 0.3, -7.7, 1e4])
def test_a_constant_stays(shape: tuple[int, ...], value: float) -> None:
    image = np.full(shape, value, np.float32)
    result = nonlocal_means(image, FilterSettings(patch=3, window=5, sigma=0.1, h=0.05))
    np.testing.assert_array_equal(result, image)


@pytest.mark.parametrize("h", [0.01, 0.1, 10.0])
def test_the_result_lies_within_the_range_of_each_channel(h: float) -> None:
    image = _noisy((31, 29, 3), sigma=0.3)
    result = nonlocal_means(image, FilterSettings(patch=3, window=7, sigma=0.1, h=h))
    assert np.all(result.min(axis=(0, 1)) >= image.min(axis=(0, 1)))
    assert np.all(result.max(axis=(0, 1)) <= image.max(axis=(0, 1)))


@pytest.mark.parametrize("kernel_sigma", [None, 1.0])
def test_turns_with_the_picture(kernel_sigma: float | None) -> None:
    image = _noisy((23, 17, 3))
    settings = FilterSettings(patch=5, window=7, sigma=0.1, h=0.06, kernel_sigma=kernel_sigma)
    result = nonlocal_means(image, settings)
    turns: list[Callable[[np.ndarray], np.ndarray]] = [
        lambda a: a[::-1],
        lambda a: a[:, ::-1],
        lambda a: np.transpose(a, (1, 0, 2)),
        lambda a: a[..., ::-1],
    ]
    for turn in turns:
        np.testing.assert_allclose(nonlocal_means(turn(image), settings), turn(result), rtol=0, atol=1e-6)


def test_moves_and_scales_with_the_values() -> None:
    image = _noisy((17, 23))
    result = nonlocal_means(image, FilterSettings(patch=3, window=7, sigma=0.1, h=0.06))
    settings = FilterSettings(patch=3, window=7, sigma=25.5, h=15.3)
    moved = nonlocal_means(255 * image.astype(np.float64) + 100, settings)
    np.testing.assert_allclose(moved, 255 * result + 100, atol=1e-3)


def test_takes_the_noise_away() -> None:
    clean = np.broadcast_to(np.where(np.arange(56) // 4 % 2, 0.8, 0.2), (48, 56))
    image = (clean + 0.05 * np.random.default_rng(0).standard_normal(clean.shape)).astype(np.float32)
    result = nonlocal_means(image, recommended_settings(0.05, data_range=1.0, color=False))
    assert psnr(result, clean, data_range=1.0) > psnr(image, clean, data_range=1.0) + 8


# ---------------------------------------------------------------------------------------------------------------------
# The map of weights
# ---------------------------------------------------------------------------------------------------------------------


def test_weights_are_those_of_the_formula() -> None:
    image = _noisy((9, 11, 3))
    settings = FilterSettings(patch=3, window=7, sigma=0.1, h=0.06)
    weights = nonlocal_weights(image, settings, row=1, column=8)
    exponents = _exponents(image.astype(np.float64), 1, 8, settings, 0.06, _uniform(3))
    expected = np.zeros((7, 7))
    for (dy, dx), exponent in exponents.items():
        expected[3 + dy, 3 + dx] = np.exp(-exponent)
    expected[3, 3] = expected.max()
    np.testing.assert_allclose(weights, expected / expected.sum(), rtol=1e-6)


def test_weights_make_the_result() -> None:
    image = _noisy((23, 19))
    settings = FilterSettings(patch=5, window=9, sigma=0.1, h=0.05, kernel_sigma=1.0)
    result = nonlocal_means(image, settings)
    padded = np.pad(image, 4, mode="reflect")
    for y, x in [(0, 0), (11, 7), (22, 18)]:
        weights = nonlocal_weights(image, settings, row=y, column=x)
        assert weights.sum() == pytest.approx(1)
        assert weights[4, 4] == np.delete(weights.ravel(), 40).max()
        assert result[y, x] == pytest.approx(np.sum(weights * padded[y : y + 9, x : x + 9]), abs=1e-6)


# ---------------------------------------------------------------------------------------------------------------------
# scikit-image
# ---------------------------------------------------------------------------------------------------------------------


def _fast_exp(y: float) -> float:
    """Schraudolph's approximation of exp with Cawley's constant, off by up to 4 %, which scikit-image uses."""
    upper = int(1512775.3951951856938 * y + 1072632447)
    return float(struct.unpack("<d", struct.pack("<q", upper << 32))[0])


def _as_scikit_image(image: np.ndarray, settings: FilterSettings, *, fast: bool) -> np.ndarray:
    """The filter as scikit-image 0.26 has it. What differs from ours:

    - the center's weight is that of equality, 1 (nearly, by its exp), not the largest other;
    - the exponential is approximated, and exponents above 5 give the weight 0;
    - fast mode sums patches without their first row and column, and still divides by the whole patch;
    - slow mode weights patches by a Gaussian of (patch − 1)/4 pixels, ends windows at the edges of the picture, and
      gives up a patch as soon as the sum over its upper rows is above 5.
    """
    color = np.atleast_3d(image).astype(np.float64)
    height, width, channels = color.shape
    side, half, reach = settings.patch, settings.patch // 2, settings.window // 2
    margin = half + reach
    padded = np.pad(color, ((margin, margin), (margin, margin), (0, 0)), mode="reflect")
    kernel = _uniform(side) if fast else _gaussian(side, (side - 1) / 4)
    if fast:
        kernel[0] = kernel[:, 0] = 0
    result = np.empty(color.shape)
    for y in range(height):
        for x in range(width):
            total, weighted = 0.0, np.zeros(channels)
            here = padded[y + reach : y + reach + side, x + reach : x + reach + side]
            for dy in range(-reach, reach + 1):
                for dx in range(-reach, reach + 1):
                    if not fast and not (0 <= y + dy < height and 0 <= x + dx < width):
                        continue
                    row, column = y + reach + dy, x + reach + dx
                    squares = (here - padded[row : row + side, column : column + side]) ** 2 - 2 * settings.sigma**2
                    rows = np.sum(kernel[:, :, None] * squares, axis=(1, 2)) / channels / settings.h**2
                    given_up = rows.sum() > 5 if fast else bool(np.any(np.cumsum(rows)[:-1] > 5))
                    weight = 0.0 if given_up else _fast_exp(-max(rows.sum(), 0))
                    total += weight
                    weighted += weight * padded[row + half, column + half]
            result[y, x] = weighted / total
    return result.reshape(image.shape)


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize(("sigma", "h"), [(0.1, 0.2), (0.1, 0.06), (0.0, 0.05)])
@pytest.mark.parametrize("shape", [(13, 17), (9, 11, 3)])
def test_how_scikit_image_differs(shape: tuple[int, ...], sigma: float, h: float, fast: bool) -> None:
    """The differences that docs/nonlocal.md lists are all there are."""
    image = _noisy(shape).astype(np.float64)
    settings = FilterSettings(patch=5, window=7, sigma=sigma, h=h)
    theirs = denoise_nl_means(
        image, 5, 3, h=h, sigma=sigma, fast_mode=fast, channel_axis=None if image.ndim == 2 else 2
    )
    np.testing.assert_allclose(theirs, _as_scikit_image(image, settings, fast=fast), rtol=0, atol=1e-6)


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("shape", [(64, 72), (48, 56, 3)])
def test_near_scikit_image(shape: tuple[int, ...], fast: bool) -> None:
    """Where pixels have many doubles, the differences are small: below a tenth of the noise."""
    sigma = 0.05
    image = _noisy(shape, sigma)
    theirs = denoise_nl_means(
        image, 5, 6, h=0.8 * sigma, sigma=sigma, fast_mode=fast, channel_axis=None if image.ndim == 2 else 2
    )
    kernel_sigma = None if fast else 1.0  # (patch − 1)/4
    settings = FilterSettings(patch=5, window=13, sigma=sigma, h=0.8 * sigma, kernel_sigma=kernel_sigma)
    ours = nonlocal_means(image, settings)
    difference = (ours - theirs)[6:-6, 6:-6]
    assert np.sqrt(np.mean(difference**2)) < 0.1 * sigma


# ---------------------------------------------------------------------------------------------------------------------
# Settings
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("level", "color", "patch", "window", "share"),
    [
        (1, True, 3, 21, 0.55),
        (25, True, 3, 21, 0.55),
        (26, True, 5, 35, 0.40),
        (55, True, 5, 35, 0.40),
        (100, True, 7, 35, 0.35),
        (15, False, 3, 21, 0.40),
        (30, False, 5, 21, 0.40),
        (45, False, 7, 35, 0.35),
        (75, False, 9, 35, 0.35),
        (100, False, 11, 35, 0.30),
    ],
)
def test_recommended_settings(level: float, color: bool, patch: int, window: int, share: float) -> None:
    for data_range in (255, 1.0):
        sigma = level / 255 * data_range
        settings = recommended_settings(sigma, data_range=data_range, color=color)
        assert (settings.patch, settings.window) == (patch, window)
        assert settings.sigma == sigma
        assert settings.h == pytest.approx(share * sigma)


@pytest.mark.parametrize(("sigma", "data_range"), [(0, 1.0), (-1, 255), (101, 255), (20, 1.0), (np.nan, 1.0), (1, 0)])
def test_settings_are_known_for_the_table_only(sigma: float, data_range: float) -> None:
    with pytest.raises(SettingsError):
        recommended_settings(sigma, data_range=data_range, color=True)


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"patch": 2}, "odd"),
        ({"patch": -1}, "odd"),
        ({"window": 4}, "odd"),
        ({"window": 1}, "odd"),
        ({"patch": 3.5}, "whole pixels"),
        ({"window": 5.0}, "whole pixels"),
        ({"sigma": -0.1}, "sigma"),
        ({"sigma": float("nan")}, "sigma"),
        ({"h": 0.0}, "positive"),
        ({"h": ()}, "positive"),
        ({"h": (1.0, -1.0)}, "positive"),
        ({"h": [1.0, 2.0]}, "tuple"),
        ({"h": np.array([1.0, 2.0])}, "tuple"),
        ({"h": float("inf")}, "positive"),
        ({"kernel_sigma": 0.0}, "kernel_sigma"),
        ({"least_weight": 1.0}, "least_weight"),
    ],
)
def test_settings_that_are_refused(wrong: dict[str, object], match: str) -> None:
    arguments = {"patch": 3, "window": 5, "sigma": 1.0, "h": 0.5} | wrong
    with pytest.raises(SettingsError, match=match):
        FilterSettings(**arguments)  # type: ignore[arg-type]


def test_pictures_that_are_refused() -> None:
    settings = FilterSettings(patch=3, window=5, sigma=1.0, h=0.5)
    image = np.zeros((17, 23, 2), np.float32)
    for wrong in (np.zeros((3, 3), np.uint8), np.zeros(5), np.zeros((0, 4)), np.zeros((2, 3, 4, 5))):
        with pytest.raises(SettingsError, match="floating"):
            nonlocal_means(wrong, settings)
    with pytest.raises(SettingsError, match="finite"):
        nonlocal_means(np.array([[0.0, np.nan]]), settings)
    with pytest.raises(SettingsError, match="size"):
        nonlocal_means(image, settings, guide=np.zeros((8, 8), np.float32))
    with pytest.raises(SettingsError, match="2 channels"):
        nonlocal_means(image, FilterSettings(patch=3, window=5, sigma=1.0, h=(1.0, 1.0, 1.0)))
    for threads in (0, 1.5, "2"):
        with pytest.raises(SettingsError, match="threads"):
            nonlocal_means(image, settings, threads=threads)  # type: ignore[arg-type]
    for wrong in (image.tolist(), None):
        with pytest.raises(SettingsError, match=f"image is an array.*got {type(wrong).__name__}"):
            nonlocal_means(wrong, settings)
    with pytest.raises(SettingsError, match="guide is an array"):
        nonlocal_means(image, settings, guide=image.tolist())  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="inside"):
        nonlocal_weights(image, settings, row=17, column=0)
    with pytest.raises(SettingsError, match="one strength"):
        nonlocal_weights(image, FilterSettings(patch=3, window=5, sigma=1.0, h=(1.0, 1.0)), row=0, column=0)
