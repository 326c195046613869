"""The benchmark of estimated ratios, on photographs and a method that take no time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from benchmarks import auto_ratio
from benchmarks.auto_ratio import aligned, measure, summarize
from benchmarks.quality import Protocol, demosaic_only
from PIL import Image

from alen.data.photos import PhotoCache
from alen.levels import Look

_PROTOCOL = Protocol(crop_px=64, cameras=("Sony A7S II", "Nikon D850"), ratios=(8, 100))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for index in range(12):
        coarse = Image.fromarray(rng.integers(0, 256, (4, 5, 3), dtype=np.uint8))
        coarse.resize((96, 80), Image.Resampling.BICUBIC).save(tmp_path / f"{index}.png")
    return tmp_path


def test_aligned_pictures_do_not_depend_on_their_brightness() -> None:
    rng = np.random.default_rng(1)
    truth = rng.uniform(0, 1.2, (20, 30, 3)).astype(np.float32)
    picture = truth + 0.1 * rng.standard_normal(truth.shape).astype(np.float32)
    for factor in (0.1, 1, 7):
        np.testing.assert_allclose(aligned(np.float32(factor) * picture, truth), aligned(picture, truth), rtol=1e-5)
    np.testing.assert_allclose(aligned(3 * truth, truth), truth, rtol=1e-5)
    np.testing.assert_array_equal(aligned(0 * truth, truth), 0)


def test_what_is_linear_costs_nothing_after_alignment(photos: Path, tmp_path: Path) -> None:
    cache = PhotoCache(sorted(photos.glob("*.png"))[:2], tmp_path / "cache")
    records = list(measure(_PROTOCOL, cache, demosaic_only, [(1, 0)]))
    assert len(records) == 2 * 2 * 2
    assert [record.psnr_db is not None for record in records] == [False] * 4 + [True] * 2 + [False] * 2
    for look in get_args(Look):
        summary = summarize(records, look)
        assert summary["pictures"] == 2
        assert summary["cost_db"] == pytest.approx(0, abs=0.01)
        assert summary["mean_absolute_stops"] < 1.5


def test_the_program_writes_records_and_its_section(photos: Path, tmp_path: Path) -> None:
    out, page = tmp_path / "out.json", tmp_path / "page.md"
    page.write_text(f"# Page\n\n{auto_ratio.MARKERS[0]}\nold\n{auto_ratio.MARKERS[1]}\n\nkept\n")
    auto_ratio.main(photos=photos, out=out, page=page, crop=64, photographs=1, cameras=2, pictures=(0, 0))
    document = json.loads(out.read_text())
    assert len(document["records"]) == document["summary"]["natural"]["all"]["frames"] == 12
    assert document["network"] is None
    text = page.read_text()
    assert "| natural | ×100 |" in text
    assert "old" not in text
    assert text.endswith("\nkept\n")
