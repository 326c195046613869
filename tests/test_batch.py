"""Many files: the next is read and the last one written while the network works, and outcomes keep their order."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from alen import batch
from alen.batch import Done, Failed, Job, PictureSettings, enhance_files
from alen.cfa import CFA
from alen.dng import write_cfa_dng
from alen.enhance import Enhancer, Finished
from alen.errors import DeviceError, PictureError, RawNotFoundError, SettingsError
from alen.raw import RawImage

_SETTINGS = PictureSettings(ratio=4.0)


class _Enhancer:
    """Makes grey pictures, and may do something while it works on a file."""

    def __init__(self, during: Callable[[str], None] = lambda _: None) -> None:
        self.during = during

    def finish(self, raw: RawImage, *, progress: Callable[[float], None] | None, **_: Any) -> Finished:
        self.during(raw.name)
        if progress is not None:
            progress(0.5)
        picture = np.full((*raw.mosaic.shape, 3), 99, dtype=np.uint8)
        return Finished(picture, raw, 4.0, False, {}, {"prepare": 0.0, "network": 0.0})


def _jobs(folder: Path, count: int) -> list[Job]:
    mosaic = np.random.default_rng(0).integers(500, 3000, (48, 64), dtype=np.uint16)
    jobs = []
    for index in range(count):
        source = folder / f"{index}.dng"
        write_cfa_dng(
            source,
            mosaic,
            cfa=CFA.bayer("RGGB"),
            black_level=(512.0, 512.0, 512.0, 512.0),
            white_level=16383,
            white_balance=(2.0, 1.0, 1.5),
            xyz2cam=np.eye(3),
        )
        jobs.append(Job(source, folder / "out" / f"{index}.jpg"))
    return jobs


def _run(jobs: list[Job], enhancer: _Enhancer, told: list[float] | None = None) -> list[Done | Failed]:
    progress = None if told is None else told.append
    return list(enhance_files(jobs, cast(Enhancer, enhancer), _SETTINGS, progress))


def test_reading_and_writing_overlap_with_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = _jobs(tmp_path, 3)
    was_read = {job.source.name: threading.Event() for job in jobs}
    read = batch.read_raw

    def reading(path: Path) -> RawImage:
        raw = read(path)
        was_read[path.name].set()
        return raw

    def during(name: str) -> None:
        """While the network is at the first file, the second is read; the last one has none to wait for."""
        following = f"{int(Path(name).stem) + 1}.dng"
        assert following not in was_read or was_read[following].wait(10)

    monkeypatch.setattr(batch, "read_raw", reading)
    assert [outcome.source for outcome in _run(jobs, _Enhancer(during))] == [job.source for job in jobs]
    assert all(job.target.exists() for job in jobs)


@pytest.mark.parametrize("overlap_px", [0, 10**9])
def test_failures_keep_their_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overlap_px: int) -> None:
    """In reading, in the network and in writing; with and without overlap."""
    monkeypatch.setattr(batch, "_OVERLAP_PX", overlap_px)
    jobs = _jobs(tmp_path, 6)
    jobs[1].source.write_bytes(b"no RAW file")
    write = batch.write_picture

    def writing(path: Path, *others: Any, **settings: Any) -> None:
        if path == jobs[4].target:
            raise PictureError("4.jpg: the disk is full")
        write(path, *others, **settings)

    monkeypatch.setattr(batch, "write_picture", writing)

    def during(name: str) -> None:
        if name == "2.dng":
            raise DeviceError("2.dng: too hot")
        if name == "3.dng":
            raise MemoryError

    outcomes = _run(jobs, _Enhancer(during))
    assert [outcome.source for outcome in outcomes] == [job.source for job in jobs]
    assert [isinstance(outcome, Done) for outcome in outcomes] == [True, False, False, False, False, True]
    assert "too large for the memory" in str(cast(Failed, outcomes[3]).error)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["0.jpg", "5.jpg"]


def test_progress_never_goes_back(tmp_path: Path) -> None:
    """A file that is still being written counts as done work."""
    told: list[float] = []
    jobs = _jobs(tmp_path, 4)
    reached: list[float] = []
    for done, _ in enumerate(enhance_files(jobs, cast(Enhancer, _Enhancer()), _SETTINGS, told.append)):
        reached += [done + share for share in told]
        told.clear()
    assert reached == [0.5, 1.5, 2.5, 3.5]


def test_what_the_system_refuses_is_a_failure_of_that_file(tmp_path: Path) -> None:
    """A name that is too long for the file system, beside others."""
    first, second = _jobs(tmp_path, 2)
    unlucky = Job(first.source, tmp_path / ("n" * 252 + ".jpg"))
    outcomes = _run([first, unlucky, second], _Enhancer())
    assert [isinstance(outcome, Done) for outcome in outcomes] == [True, False, True]
    assert "too long" in str(cast(Failed, outcomes[1]).error)
    longest = Job(first.source, tmp_path / ("n" * 251 + ".jpg"))
    assert isinstance(_run([longest], _Enhancer())[0], Done)


def test_names_that_the_system_refuses_are_planned_all_the_same(tmp_path: Path) -> None:
    (job,) = _jobs(tmp_path, 1)
    endless = tmp_path / ("x" * 300 + ".dng")
    planned = batch.plan([endless, job.source], output=str(tmp_path / "out"))
    assert [each.source for each in planned] == [endless, job.source]
    failed, done = _run(planned, _Enhancer())
    assert "too long" in str(cast(Failed, failed).error)
    assert isinstance(done, Done)


def test_a_mistake_of_the_program_stops_no_batch(tmp_path: Path) -> None:
    def during(name: str) -> None:
        if name == "0.dng":
            raise ValueError("operands could not be broadcast")

    failed, done = _run(_jobs(tmp_path, 2), _Enhancer(during))
    assert "0.dng: cannot be enhanced; this is a mistake in alen (ValueError: operands" in str(
        cast(Failed, failed).error
    )
    assert isinstance(done, Done)


def test_no_raw_file_that_was_named_is_replaced(tmp_path: Path) -> None:
    """By the picture of another, or by a sheet beside it; dark frames neither."""
    sources = [tmp_path / name for name in ("a.dng", "b.tif", "c.compare.jpg")]
    for output, darks, is_refused in (
        ("b.tif", (), False),
        ("b.tif", (sources[1],), True),
        ("c.jpg", (sources[2],), True),
    ):
        (job,) = batch.plan(sources[:1], output=str(tmp_path / output), darks=darks)
        assert (job.problem is not None) == is_refused
        assert not is_refused or "never replaced" in str(job.problem)


def test_pictures_that_a_glob_names_too_can_be_replaced(tmp_path: Path) -> None:
    """A second run over the same folder."""
    (job,) = _jobs(tmp_path, 1)
    picture = tmp_path / "0.alen.jpg"
    picture.write_bytes(b"\xff\xd8\xff")
    raw, ours = batch.plan([job.source, picture])
    assert raw.target == picture
    assert raw.problem is None
    again = PictureSettings(ratio=4.0, overwrite=True)
    done, failed = enhance_files([raw, ours], cast(Enhancer, _Enhancer()), again)
    assert isinstance(done, Done)
    assert isinstance(failed, Failed)
    assert picture.stat().st_size > 100


@pytest.mark.parametrize("overlap_px", [0, 10**9])
@pytest.mark.parametrize("is_damaged", [True, False])
def test_of_two_of_a_name_the_second_is_taken_if_the_first_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overlap_px: int, is_damaged: bool
) -> None:
    monkeypatch.setattr(batch, "_OVERLAP_PX", overlap_px)
    good = _jobs(tmp_path, 1)[0].source.read_bytes()
    first, second, third = (tmp_path / f"a.{suffix}" for suffix in ("cr2", "dng", "nef"))
    first.write_bytes(b"damaged" if is_damaged else good)
    second.write_bytes(good)
    third.write_bytes(good)
    planned = batch.plan([first, second, third], output=f"{tmp_path}/out/")
    outcomes = list(enhance_files(planned, cast(Enhancer, _Enhancer()), PictureSettings(ratio=4.0, overwrite=True)))
    assert [isinstance(outcome, Done) for outcome in outcomes] == [not is_damaged, is_damaged, False]
    assert "Enhance it into another folder" in str(cast(Failed, outcomes[2]).error)


def test_dark_frames_are_not_enhanced(tmp_path: Path) -> None:
    first, second = (job.source for job in _jobs(tmp_path, 2))
    planned = batch.plan([first, second], darks=[second])
    assert planned[0].problem is None
    assert "is named as a dark frame, too" in str(planned[1].problem)


def test_files_that_are_not_there_are_told(tmp_path: Path) -> None:
    (job,) = _jobs(tmp_path, 1)
    with pytest.raises(RawNotFoundError, match="nodir: there is no such file or folder"):
        batch.raw_files_of([job.source, tmp_path / "nodir"], "--dark")


def test_failures_hold_no_frames(tmp_path: Path) -> None:
    """Who keeps outcomes keeps no RAW images with them."""
    jobs = _jobs(tmp_path, 1)

    def during(_: str) -> None:
        try:
            raise ValueError
        except ValueError as error:
            raise DeviceError("too hot") from error

    (failed,) = _run(jobs, _Enhancer(during))
    error: BaseException | None = cast(Failed, failed).error
    assert isinstance(error, DeviceError)
    while error is not None:
        assert error.__traceback__ is None
        error = error.__cause__


def test_a_file_that_is_named_twice_is_one(tmp_path: Path) -> None:
    (job,) = _jobs(tmp_path, 1)
    (tmp_path / "sub").mkdir()
    again = tmp_path / "sub" / ".." / job.source.name
    assert batch.find_raw_files([job.source, again, tmp_path]) == [job.source]
    link = tmp_path / "link.dng"
    link.symlink_to(job.source)
    assert batch.find_raw_files([job.source, link]) == [job.source, link]
    planned = batch.plan([tmp_path / "sub" / ".." / "a.dng", tmp_path / "a.nef"], output=f"{tmp_path}/sub/../")
    assert planned[1].problem is not None


@pytest.mark.parametrize("exposure_ev", [20.5, -21.0, float("nan"), float("inf")])
def test_exposures_out_of_range_are_refused_before_any_work(exposure_ev: float) -> None:
    with pytest.raises(SettingsError, match="stops"):
        PictureSettings(exposure_ev=exposure_ev)
