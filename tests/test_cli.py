"""The command line as a user sees it: what is printed, what is written, and the exit codes."""

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import tifffile
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import save_file

from alen import __version__
from alen.cameras import CAMERAS
from alen.cfa import BAYER_PHASES, CFA, mosaic_from_rgb
from alen.cli import main
from alen.config import AlenConfig
from alen.dng import write_cfa_dng
from alen.engines.openvino import OpenVinoEngine
from alen.enhance import Enhancer, Finished
from alen.models.alen import Alen
from alen.noise import add_noise
from alen.raw import RawImage, read_raw
from alen.sheets import ratio_sheet
from alen.training.config import Stage, TrainingConfig
from alen.training.sources import Photographs
from alen.weights import TrainingFacts, load_weights, save_weights
from miniature import make_sid

_XYZ2CAM = ((0.6941, -0.1164, -0.0857), (-0.3825, 1.1597, 0.2534), (-0.0416, 0.1540, 0.6039))
_GAINS = (2.0, 1.0, 1.6)
_COMMANDS = (
    ["enhance"],
    ["sample"],
    ["info"],
    ["models"],
    ["evaluate"],
    ["calibrate"],
    ["convert"],
    ["train"],
    ["train", "camera"],
    ["train", "sid-sony"],
    ["data"],
    *(["data", name] for name in ("sid", "eld", "own")),
)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with random weights that shows the demosaicked input almost as it is."""
    config = dataclasses.replace(AlenConfig.shipped(), widths=(4, 4, 8, 8), base="demosaic", demosaicking="formulas")
    torch.manual_seed(0)
    network = Alen(config)
    with torch.no_grad():
        network.head.weight *= 0.01
        network.head.bias[12 * config.unshuffle**2 :] = 6.0
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    facts = TrainingFacts(steps=1500, photographs=12, data="drawings", scores={"x100": {"psnr_db": 27.5, "ssim": 0.71}})
    save_weights(path, {name: value.numpy() for name, value in network.state_dict().items()}, config, facts)
    return path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, and a wide terminal."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    return tmp_path


def _dng(
    path: Path,
    *,
    orientation: int = 1,
    phase: str = "RGGB",
    height: int = 61,
    width: int = 90,
    contrast: float = 1,
    hot: tuple[int, int] | None = None,
) -> Path:
    """Write a dark DNG: gray, brighter at the left, with a bright corner at the top left, and a hot pixel if wanted."""
    x = np.linspace(0.8, 0.2, width)
    scene = np.repeat(np.tile(x, (height, 1))[..., None], 3, axis=2)
    scene[: height // 2, : width // 3] = 1.0
    light = mosaic_from_rgb(scene**contrast / (50 * np.array(_GAINS)), CFA.bayer(phase))
    noise = np.random.default_rng(0).normal(0, 2, light.shape)
    if hot is not None:
        noise[hot] = 3000
    write_cfa_dng(
        path,
        np.rint(512 + light * (16000 - 512) + noise).astype(np.uint16),
        cfa=CFA.bayer(phase),
        black_level=(512.0, 512.0, 512.0, 512.0),
        white_level=16000,
        white_balance=_GAINS,
        xyz2cam=_XYZ2CAM,
        iso=1600,
        exposure_time_s=1 / 50,
        aperture=2.8,
        camera="Test One",
        orientation=orientation,
    )
    return path


def _without_times(text: str) -> str:
    return re.sub(r"\d+\.\d+ s\b", "# s", text)


def _pixels(path: Path) -> NDArray[np.float64]:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"), dtype=np.float64) / 255


# ---------------------------------------------------------------------------------------------------- help and usage


@pytest.mark.parametrize("command", [[], *_COMMANDS], ids=lambda command: " ".join(command) or "alen")
def test_every_command_has_help_with_an_example(capsys: pytest.CaptureFixture[str], command: list[str]) -> None:
    assert main([*command, "--help"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"Usage: {' '.join(['alen', *command])} ")
    example = re.search(r"(Examples?|First steps):\n\n((?:  alen .*\n)+)", out)
    assert example is not None
    for line in example[2].splitlines():
        assert line.strip().startswith(" ".join(["alen", *command]) if command else "alen") or "enhance" in line
    assert err == ""


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr() == (f"{__version__}\n", "")


def test_the_program_runs_as_a_process() -> None:
    """And its modules wait until they are needed: `alen --help` answers at once."""
    code = (
        "import alen.cli, sys; code = alen.cli.main(['--version']);"
        "sys.exit(code or any(m in sys.modules for m in ('numpy', 'rawpy', 'openvino', 'torch', 'PIL')))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, f"{__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["enhance"], "requires an argument"),
        (["enhence", "a.dng"], 'Unknown command "enhence". Did you mean "enhance"?'),
        (["enhance", "a.dng", "--raito", "3"], "Unknown option"),
        (
            ["enhance", "a.dng", "--ratio", "much"],
            'Invalid value for --ratio: "auto" or a number from 1 to 300 is needed; got "much".',
        ),
        (
            ["enhance", "a.dng", "--max-memory", "much"],
            'Invalid value for --max-memory: a number is needed; got "much".',
        ),
        (["enhance", "a.dng", "--force=much"], 'Invalid value for --force: it takes no value; got "much".'),
        (["sample", "a.dng", "--seed", "much"], 'Invalid value for --seed: a whole number is needed; got "much".'),
        (["train", "camera", "--photos", "p", "--out", "r", "--lr", "much"], "a number is needed"),
        (["enhance", "a.dng", "--ratio", "0.5"], "error: The ratio lies between 1 and 300"),
        (["enhance", "a.dng", "--ratio", "400"], "error: The ratio lies between 1 and 300"),
        (["enhance", "a.dng", "--look", "gloomy"], 'Invalid value "gloomy" for --look'),
        (["enhance", "a.dng", "--look", "bright", "--ratio", "50"], "error: The look (bright) is for estimated ratios"),
        (["enhance", "a.dng", "--ev", "nan"], "error: The exposure is a number of stops"),
        (["enhance", "a.dng", "--quality", "0"], "error: The JPEG quality is 1 to 100; got 0."),
        (["enhance", "a.dng", "--format", "gif"], 'Invalid value "gif" for --format'),
        (["enhance", "a.dng", "--linear", "--format", "jpg"], "error: Linear files are written as tif"),
        (["enhance", "a.dng", "-o", "a.jpg", "--linear"], "error: a.jpg: its suffix contradicts the format tif"),
        (["enhance", "a.dng", "-o", "a.jpg", "--format", "png"], "error: a.jpg: its suffix contradicts the format png"),
        (["enhance", "a.dng", "-o", "a.gif"], "error: a.gif: the suffix tells the format"),
        (["enhance", "a.dng", "-o", "pictures"], "end the name of a folder with a slash"),
        (["enhance", "a.dng", "b.dng", "-o", "a.jpg"], "error: a.jpg names one picture, but there are several"),
        (["sample", "a.dng", "--ratio", "0"], "error: The exposure ratio of a sample lies between 1 and 1000"),
        (["sample", "a.dng", "--seed", "-1"], "error: The seed is a whole number from 0 on; got -1."),
        (["enhance", "a.dng", "--ev", "25"], "error: The exposure is a number of stops within ±20; got 25."),
        (["enhance", "a.dng", "--dark"], "error: --dark needs RAW files"),
        (["enhance", ""], "error: An argument is empty"),
        (["enhance", "a.dng", "-o", ""], "error: An argument is empty"),
        (
            ["train", "camera", "--photos", "p", "--out", "r", "--lr", "nan"],
            "error: learning_rate is a positive number",
        ),
        (["train", "camera", "--photos", "p", "--out", "r", "--seed", "-1"], "error: seed is a whole number"),
        (["train", "camera"], "requires an argument"),
        (["train", "camera", "--photos", "p", "--out", "r", "--patch", "17"], "error: Patches are multiples of 16"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage(folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert message in " ".join(err.replace("│", " ").split())
    assert out == ""
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("mistake", "code", "commands"),
    [
        (
            "a file that is not there",
            1,
            [
                "enhance none.dng",
                "enhance in.dng --dark none.dng",
                "info none.dng",
                "calibrate --dark none.dng --flat in.dng -o c.json",
                "convert none.pth -o w.safetensors --plane-order sid",
                "data own none.csv",
                "evaluate pairs --data none.csv --weights alen",
                "train pairs --data none.csv --out r",
                "train camera --photos photos --out r --camera none.json",
            ],
        ),
        (
            "a folder that is not there",
            1,
            [
                "calibrate --dark in.dng --flat in.dng -o none/c.json",
                "data sid none",
                "data eld none",
                "evaluate sid-sony-88 --data none --weights alen",
                "train camera --photos none --out r",
                "train sid-sony --data none --out r",
            ],
        ),
        (
            "what is there already",
            1,
            [
                "enhance in.dng -o there.jpg",
                "sample there.dng",
                "export -o there.onnx",
                "convert none.pth -o there.safetensors --plane-order sid",
                "train camera --photos photos --out there",
            ],
        ),
        (
            "weights that are not there",
            1,
            [
                "enhance in.dng --model none",
                "models none",
                "export -o w.onnx --model none",
                "evaluate pairs --data pairs.csv --weights none",
                "train camera --photos photos --out r --init none",
            ],
        ),
        (
            "a device that is not there",
            1,
            [
                "enhance in.dng --device TPU",
                "enhance in.dng --device cuda:99",
                "train camera --photos photos --out r --device TPU",
                "train camera --photos photos --out r --device cuda:99",
            ],
        ),
        (
            "a wrong suffix",
            2,
            [
                "enhance in.dng -o w.gif",
                "sample w.tif",
                "export -o w.bin",
                "convert none.pth -o w.bin --plane-order sid",
            ],
        ),
        (
            "a value out of its range",
            2,
            [
                "enhance in.dng --quality 101",
                "sample w.dng --iso 1",
                "calibrate --dark in.dng other.dng --flat in.dng other.dng -o c.json --iso=-3",
                "evaluate pairs --data pairs.csv --weights alen --threads 0",
                "evaluate pairs --data pairs.csv --weights alen --seed=-1",
                "train camera --photos photos --out r --threads 0",
            ],
        ),
        (
            "a name that is not known",
            2,
            [
                "enhance in.dng --look gloomy",
                "data sid photos --subset none",
                "evaluate none --data photos --weights alen",
                "train none --out r",
            ],
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_equal_mistakes_have_one_exit_code(
    folder: Path, capsys: pytest.CaptureFixture[str], mistake: str, code: int, commands: list[str]
) -> None:
    for name in ("in.dng", "other.dng"):
        _dng(folder / name)
    _photographs(folder / "photos")
    (folder / "pairs.csv").write_text("short,long,ratio\nin.dng,other.dng,100\n")
    for suffix in ("dng", "jpg", "onnx", "safetensors"):
        (folder / f"there.{suffix}").touch()
    (folder / "there").mkdir()
    (folder / "there" / "checkpoint.safetensors").touch()
    before = sorted(folder.rglob("*"))
    codes = {command: main(command.split()) for command in commands}
    assert codes == dict.fromkeys(commands, code), capsys.readouterr().err
    assert sorted(folder.rglob("*")) == before


# ----------------------------------------------------------------------------------------------------------- enhance


def test_enhance_one_file(folder: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _dng(folder / "in.dng")
    assert main(["enhance", "in.dng", "--ratio", "50", "--model", str(weights)]) == 0
    out, err = capsys.readouterr()
    assert _without_times(out) == (
        "in.dng → in.alen.jpg  90 × 61, ratio 50 (given), decode # s, prepare # s, network # s, write # s\n"
    )
    assert err == ""
    assert sorted(file.name for file in folder.iterdir()) == ["in.alen.jpg", "in.dng"]
    with Image.open("in.alen.jpg") as image:
        assert image.format == "JPEG"
        assert image.size == (90, 61)
        assert image.info["icc_profile"]
        exif = image.getexif()
        assert exif[0x0110] == "Test One"
        assert exif[0x0131] == f"alen {__version__}"
        assert exif.get_ifd(0x8769)[0x8827] == 1600
        comment = exif.get_ifd(0x8769)[0x9286]
    told = json.loads(comment.removeprefix(b"ASCII\0\0\0"))
    assert told["ExposureRatio"] == "50 (given)"
    assert told["Model"] == f"small {load_weights(weights).digest}"
    assert told["Source"] == "in.dng"


@pytest.mark.parametrize("closed", [["stdout"], ["stderr"], ["stdout", "stderr"]])
def test_nobody_needs_to_listen(
    folder: Path, weights: Path, monkeypatch: pytest.MonkeyPatch, closed: list[str]
) -> None:
    """Streams that whoever started the process has closed: `2>&-`, or Windows without a console."""
    _dng(folder / "a.dng")
    for name in closed:
        monkeypatch.setattr(sys, name, None)
    assert main(["enhance", "a.dng", "--model", str(weights)]) == 0
    assert main(["enhance", "b.dng", "--model", str(weights)]) == 1
    for name in closed:
        getattr(sys, name).close()
    assert (folder / "a.alen.jpg").exists()


def test_hot_pixels_can_be_kept(folder: Path, weights: Path) -> None:
    _dng(folder / "in.dng", hot=(40, 50))
    told = []
    for arguments in ([], ["--keep-hot-pixels"]):
        name = f"{len(told)}.jpg"
        assert main(["enhance", "in.dng", "-o", name, "--ratio", "50", "--model", str(weights), *arguments]) == 0
        with Image.open(name) as image:
            comment = image.getexif().get_ifd(0x8769)[0x9286]
        told.append(int(json.loads(comment.removeprefix(b"ASCII\0\0\0"))["ReplacedPixels"]))
    assert told == [1, 0]


def test_files_named_after_the_darks_are_told_of(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where they are missing, not with any other mistake."""
    _dng(folder / "in.dng")
    assert main(["enhance", "--dark", "darks", "in.dng"]) == 2
    assert "Name the files to enhance before --dark" in capsys.readouterr().err
    assert main(["enhance", "in.dng", "--ensemble", "3", "--dark", "darks"]) == 2
    assert "Name the files" not in capsys.readouterr().err


def test_several_orientations_can_be_asked_for(folder: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _dng(folder / "in.dng")
    assert main(["enhance", "in.dng", "--ratio", "50", "--model", str(weights), "--ensemble", "4"]) == 0
    with Image.open("in.alen.jpg") as image:
        comment = image.getexif().get_ifd(0x8769)[0x9286]
    assert json.loads(comment.removeprefix(b"ASCII\0\0\0"))["Ensemble"] == "4 orientations"
    assert main(["enhance", "in.dng", "--model", str(weights), "--ensemble", "3"]) == 2
    assert "1, 2, 4, 8" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("orientation", "corner", "size"),
    [(1, (0, 0), (90, 61)), (3, (-1, -1), (90, 61)), (6, (0, -1), (61, 90)), (8, (-1, 0), (61, 90))],
)
def test_pictures_are_upright(
    folder: Path, weights: Path, orientation: int, corner: tuple[int, int], size: tuple[int, int]
) -> None:
    _dng(folder / "in.dng", orientation=orientation)
    assert main(["enhance", "in.dng", "--ratio", "50", "--model", str(weights)]) == 0
    picture = _pixels(folder / "in.alen.jpg").mean(axis=2)
    assert picture.shape == size[::-1]
    corners = {(y, x): picture[y * 8 or 8, x * 8 or 8] for y in (0, -1) for x in (0, -1)}
    assert max(corners, key=lambda place: corners[place]) == corner


def test_formats_agree(folder: Path, weights: Path) -> None:
    _dng(folder / "in.dng")
    common = ["enhance", "in.dng", "--ratio", "50", "--model", str(weights), "--precision", "float32"]
    assert main([*common, "-o", "out.jpeg", "--quality", "100"]) == 0
    assert main([*common, "-o", "out.png"]) == 0
    assert main([*common, "--format", "tif"]) == 0
    tif = tifffile.imread(folder / "in.alen.tif")
    assert tif.dtype == np.uint16
    assert tif.shape == (61, 90, 3)
    np.testing.assert_allclose(_pixels(folder / "out.png"), tif / 65535, atol=1 / 255)
    np.testing.assert_allclose(_pixels(folder / "out.jpeg"), tif / 65535, atol=8 / 255)


def test_threads_are_those_of_the_engine(
    folder: Path, weights: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from alen import enhance

    _dng(folder / "in.dng")
    made: list[int | None] = []

    def engine(*arguments: Any, threads: int | None, **settings: Any) -> OpenVinoEngine:
        made.append(threads)
        return OpenVinoEngine(*arguments, threads=threads, **settings)

    monkeypatch.setattr(enhance, "OpenVinoEngine", engine)
    common = ["enhance", "in.dng", "--ratio", "50", "--model", str(weights), "--force"]
    assert main([*common, "--threads", "1"]) == main(common) == 0
    assert made == [1, None]
    assert main([*common, "--threads", "0"]) == 2
    assert "At least one thread is needed, a whole number of them; got 0." in capsys.readouterr().err


def test_linear_files(folder: Path, weights: Path) -> None:
    """(DN − black)/(white − black) × gain × ratio, as float, in sensor orientation."""
    _dng(folder / "in.dng", orientation=6)
    arguments = ["enhance", "in.dng", "--linear", "--model", str(weights), "--precision", "float32"]
    assert main([*arguments, "--ratio", "50", "-o", "out.tif"]) == 0
    assert main([*arguments, "--ratio", "100"]) == 0
    once, twice = tifffile.imread(folder / "out.tif"), tifffile.imread(folder / "in.alen.tif")
    assert once.dtype == np.float32
    assert once.shape == (61, 90, 3)
    right = np.s_[4:-4, 40:-4]
    expected = np.linspace(0.8, 0.2, 90)[None, 40:-4, None]
    assert np.abs(once[right] - expected).mean() < 0.03
    assert np.abs(twice[right] - 2 * expected).mean() < 0.06
    assert twice.max() > 1.8


def test_brighter_and_darker(folder: Path, weights: Path) -> None:
    _dng(folder / "in.dng")
    means = []
    for ev in ("-1", "0", "+1"):
        name = f"ev{ev}.png"
        assert main(["enhance", "in.dng", "--ratio", "50", "--ev", ev, "-o", name, "--model", str(weights)]) == 0
        means.append(_pixels(folder / name).mean())
    assert means[0] < means[1] < means[2]


def test_the_ratio_is_estimated_and_told(folder: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _dng(folder / "in.dng")
    assert main(["enhance", "in.dng", "--ratio", "auto", "--model", str(weights)]) == 0
    told = re.search(r"ratio (\S+) \(estimated\)", capsys.readouterr().out)
    assert told is not None
    assert 10 < float(told[1]) < 50


def test_looks(folder: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Bright is the default, and what `alen info` shows; natural is darker, in files of either kind."""
    _dng(folder / "in.dng", contrast=8)
    common = ["enhance", "in.dng", "--model", str(weights), "--force"]
    pictures = []
    for look in ([], ["--look", "bright"], ["--look", "natural"]):
        assert main([*common, *look]) == 0
        pictures.append(_pixels(folder / "in.alen.jpg"))
        assert main([*common, *look, "--linear"]) == 0
    ratios = [float(ratio) for ratio in re.findall(r"ratio (\S+) \(estimated\)", capsys.readouterr().out)]
    assert ratios[0] == ratios[1] == ratios[2] == ratios[3] > ratios[4] == ratios[5]
    np.testing.assert_array_equal(pictures[0], pictures[1])
    assert pictures[2].mean() < pictures[0].mean()
    assert main(["info", "in.dng", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["estimated_ratio"] == pytest.approx(ratios[0], rel=0.01)


def test_nothing_is_replaced_without_force(folder: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _dng(folder / "in.dng")
    (folder / "in.alen.jpg").write_text("mine")
    common = ["enhance", "in.dng", "--model", str(weights)]
    assert main(common) == 1
    assert capsys.readouterr() == (
        "",
        "error: in.dng: in.alen.jpg: exists already. Replace it with --force, or choose another name with -o.\n",
    )
    assert (folder / "in.alen.jpg").read_text() == "mine"
    assert main([*common, "--force"]) == 0
    assert _pixels(folder / "in.alen.jpg").shape == (61, 90, 3)


def test_a_raw_file_is_never_replaced(folder: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = _dng(folder / "in.tif").read_bytes()
    assert main(["enhance", "in.tif", "-o", "in.tif", "--force", "--model", str(weights)]) == 1
    assert "is the RAW file itself, which is never replaced" in capsys.readouterr().err
    assert (folder / "in.tif").read_bytes() == before


def test_one_bad_file_does_not_stop_the_others(folder: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _dng(folder / "a.dng")
    (folder / "b.dng").write_bytes(_dng(folder / "whole.dng").read_bytes()[:3000])
    _dng(folder / "c.dng", phase="GBRG")
    files = ["a.dng", "b.dng", "missing.dng", "c.dng"]
    assert main(["enhance", *files, "-o", "out", "--ratio", "50", "--model", str(weights)]) == 1
    out, err = capsys.readouterr()
    times = "decode # s, prepare # s, network # s, write # s"
    assert _without_times(out) == (
        f"[1/4] a.dng → out/a.alen.jpg  90 × 61, ratio 50 (given), {times}\n"
        f"[4/4] c.dng → out/c.alen.jpg  90 × 61, ratio 50 (given), {times}\n"
        "2 of 4 pictures in # s, 2 failed\n"
    )
    first, second = err.splitlines()
    assert first.startswith("error: b.dng: this is a DNG that was cut off")
    assert second == "error: missing.dng: there is no such file. Check the path."
    assert sorted(file.name for file in (folder / "out").iterdir()) == ["a.alen.jpg", "c.alen.jpg"]


def test_folders(folder: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The RAW files of a folder, whatever else lies there; and a folder without any is an error."""
    card = folder / "card"
    (card / "deeper").mkdir(parents=True)
    (folder / "empty").mkdir()
    _dng(card / "b.DNG")
    _dng(card / "a.dng")
    _dng(card / "._a.dng")
    _dng(card / "deeper" / "c.dng")
    (card / "a.jpg").write_text("the camera's own")
    common = ["--format", "png", "--ratio", "50", "--model", str(weights)]
    assert main(["enhance", "card", "empty", "-o", "out/", *common]) == 1
    assert sorted(file.name for file in (folder / "out").iterdir()) == ["a.alen.png", "b.alen.png"]
    assert capsys.readouterr().err == (
        "error: empty: there is no RAW file in this folder. Name the files or another folder.\n"
    )
    assert main(["enhance", "card", *common]) == 0
    assert (card / "a.alen.png").exists()


def test_two_files_of_one_name(folder: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("monday", "tuesday"):
        (folder / name).mkdir()
        _dng(folder / name / "in.dng")
    assert main(["enhance", "monday", "tuesday", "-o", "out/", "--force", "--model", str(weights)]) == 1
    assert capsys.readouterr().err == (
        "error: tuesday/in.dng: its picture out/in.alen.jpg is that of monday/in.dng, too. "
        "Enhance it into another folder.\n"
    )
    assert (folder / "out" / "in.alen.jpg").exists()


@pytest.mark.parametrize("orientation", [1, 6])
def test_comparison(folder: Path, weights: Path, capsys: pytest.CaptureFixture[str], orientation: int) -> None:
    _dng(folder / "in.dng", orientation=orientation, height=101, width=140)
    assert main(["enhance", "in.dng", "--ratio", "50", "--compare", "--model", str(weights)]) == 0
    assert "; comparison in.compare.jpg\n" in capsys.readouterr().out
    assert sorted(file.name for file in folder.iterdir()) == ["in.alen.jpg", "in.compare.jpg", "in.dng"]
    sheet = _pixels(folder / "in.compare.jpg")
    height, width = (101, 140) if orientation == 1 else (140, 101)
    shot, brightened, enhanced = (sheet[34 : 34 + height, 6 + column * (width + 6) :][:, :width] for column in range(3))
    picture = _pixels(folder / "in.alen.jpg")
    assert shot.mean() < 0.3 * brightened.mean()
    # the weights show the input as it is, so that both are nearly the picture
    assert np.abs(enhanced - picture).mean() < 0.02
    assert np.abs(brightened - picture).mean() < 0.05
    assert main(["enhance", "in.dng", "--compare", "-o", "other.png", "--model", str(weights)]) == 0
    assert (folder / "other.compare.jpg").exists()


def test_sheets_of_extreme_exposures_and_shapes(folder: Path, weights: Path) -> None:
    _dng(folder / "in.dng")
    for ev in ("-19", "19.5"):
        assert main(["enhance", "in.dng", "--ratios", "--ev", ev, "--model", str(weights), "--force"]) == 0
    mosaic = np.full((16, 10_300), 900, np.uint16)
    raw = read_raw(folder / "in.dng")
    enhanced = Enhancer(weights).enhance(dataclasses.replace(raw, mosaic=mosaic, cfa=CFA.bayer("RGGB")), ratio=50)
    height, width, _ = ratio_sheet(enhanced).shape
    assert width > 5 * 10_300 / 16
    assert height > 1


def test_a_sheet_that_cannot_be_written_leaves_the_picture(
    folder: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _dng(folder / "in.dng")
    (folder / "in.compare.jpg").mkdir()
    assert main(["enhance", "in.dng", "--compare", "--force", "--model", str(weights)]) == 1
    assert "The picture itself, in.alen.jpg, is complete." in " ".join(capsys.readouterr().err.split())
    assert _pixels(folder / "in.alen.jpg").shape == (61, 90, 3)


@pytest.mark.parametrize("orientation", [1, 6])
def test_other_ratios(folder: Path, weights: Path, capsys: pytest.CaptureFixture[str], orientation: int) -> None:
    """A stop apart; ratios beyond 300 are left out; the one in the middle is the picture."""
    _dng(folder / "in.dng", orientation=orientation, height=101, width=140)
    assert main(["enhance", "in.dng", "--ratio", "100", "--ratios", "--model", str(weights)]) == 0
    assert "; other ratios in.ratios.jpg\n" in capsys.readouterr().out
    sheet = _pixels(folder / "in.ratios.jpg")
    height, width = (101, 140) if orientation == 1 else (140, 101)
    assert sheet.shape[1] == 4 * (width + 6) + 6
    frames = [sheet[34 : 34 + height, 6 + column * (width + 6) :][:, :width] for column in range(4)]
    means = [frame.mean() for frame in frames]
    assert means == sorted(means)
    assert np.abs(frames[2] - _pixels(folder / "in.alen.jpg")).mean() < 0.02
    assert main(["enhance", "in.dng", "--ratio", "100", "--ratios", "-o", "x.jpg", "--model", str(weights)]) == 0
    assert main(["enhance", "in.dng", "--ratio", "100", "--ratios", "-o", "x.png", "--model", str(weights)]) == 1
    assert "x.ratios.jpg: exists already" in capsys.readouterr().err


def test_missing_weights(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _dng(folder / "in.dng")
    assert main(["enhance", "in.dng", "--model", "none.safetensors"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: none.safetensors: neither a weights file nor one of the shipped weights")


def test_frames_beyond_the_memory_allowed_are_refused(
    folder: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _dng(folder / "in.dng")
    common = ["enhance", "in.dng", "--ratio", "50", "--model", str(weights), "--precision", "float32", "--max-memory"]
    assert main([*common, "0.1"]) == 1
    assert "in.dng: 0 megapixels need about 0.8 GB, more than the 0.1 GB" in capsys.readouterr().err
    assert not (folder / "in.alen.jpg").exists()
    assert main([*common, "-1"]) == 2
    assert main([*common, "inf"]) == 2
    assert main([*common, "nan"]) == 2
    assert main([*common, "1"]) == 0


def test_missing_device(folder: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _dng(folder / "in.dng")
    assert main(["enhance", "in.dng", "--device", "TPU", "--model", str(weights)]) == 1
    assert capsys.readouterr().err.startswith("error: The device TPU is not there. OpenVINO finds: ")


def test_devices_may_be_spelled_in_small_letters(folder: Path, weights: Path) -> None:
    _dng(folder / "in.dng")
    assert main(["enhance", "in.dng", "--device", "cpu", "--model", str(weights)]) == 0


def test_a_folder_that_cannot_be_made(folder: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _dng(folder / "in.dng")
    (folder / "file").touch()
    assert main(["enhance", "in.dng", "-o", "file/", "--model", str(weights)]) == 1
    assert "the folder cannot be made" in capsys.readouterr().err


def test_too_little_memory(
    folder: Path, weights: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    _dng(folder / "in.dng")
    monkeypatch.setattr("alen.batch.read_raw", fail)
    assert main(["enhance", "in.dng", "--model", str(weights)]) == 1
    assert "too large for the memory" in capsys.readouterr().err


# ---------------------------------------------------------------------------------------------- sample, info, models


def test_a_batch_that_is_interrupted_says_so(
    folder: Path, weights: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from alen.enhance import Enhancer

    finish = Enhancer.finish

    def interrupted(self: Enhancer, raw: RawImage, **others: Any) -> Finished:
        if raw.name == "b.dng":
            raise KeyboardInterrupt
        return finish(self, raw, **others)

    monkeypatch.setattr(Enhancer, "finish", interrupted)
    for name in "abc":
        _dng(folder / f"{name}.dng")
    assert main(["enhance", "a.dng", "b.dng", "c.dng", "--model", str(weights)]) == 130
    assert capsys.readouterr().err == "error: interrupted\n"
    assert sorted(file.name for file in folder.glob("*.jpg")) == ["a.alen.jpg"]
    assert not list(folder.glob("*.part"))


def test_the_bar_never_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not when a file fails while what was told of others' work is ahead of what they count."""
    from alen.commands.console import Progress

    shown: list[float] = []

    class Bar:
        def update(self, _: object, *, completed: float) -> None:
            shown.append(completed)

    progress = Progress(3, "pictures")
    progress._bar, progress._task = Bar(), 0
    for share in (0.5, 1.0, 1.7, None, 0.9, None, None):
        progress.advance() if share is None else progress.share(share)
    assert shown == sorted(shown)
    assert shown[-1] == 3


def test_folders_without_raw_files_are_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _dng(folder / "in.dng")
    (folder / "empty").mkdir()
    for arguments in (
        ["enhance", "in.dng", "--dark", "empty"],
        ["calibrate", "--dark", "empty", "--flat", "in.dng", "-o", "c.json"],
        ["calibrate", "--dark", "in.dng", "--flat", "empty", "-o", "c.json"],
        ["info", "empty"],
    ):
        assert main(arguments) == 1
        assert capsys.readouterr().err.startswith("error: empty: there is no RAW file in this folder.")


def test_sample(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from alen import sample

    def small(height: int = 48, width: int = 64, seed: int = 0) -> NDArray[np.float32]:
        return np.random.default_rng(seed).uniform(0, 1, (48, 64, 3)).astype(np.float32)

    monkeypatch.setattr(sample, "camera_truth", small)
    assert main(["sample", "night.dng", "--ratio", "250"]) == 0
    assert capsys.readouterr().out == (
        "night.dng: dark RAW file, 250 × too short, ISO 800\n"
        "night.reference.png: what it would show with enough light\n"
    )
    assert sorted(file.name for file in folder.iterdir()) == ["night.dng", "night.reference.png"]
    first = (folder / "night.dng").read_bytes()
    assert main(["sample", "night.dng", "--ratio", "250"]) == 1
    assert "night.dng: exists already" in capsys.readouterr().err
    assert main(["sample", "night.dng", "--ratio", "250", "--force"]) == 0
    assert (folder / "night.dng").read_bytes() == first
    assert main(["sample", "new/folder/night.dng"]) == 0
    assert main(["sample", "night.dng", "--ratio", "250", "--force", "--seed", "3"]) == 0
    assert (folder / "night.dng").read_bytes() != first


def test_info(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _dng(folder / "[in].dng", orientation=6, phase="GRBG")
    assert main(["info", "[in].dng"]) == 0
    out, err = capsys.readouterr()
    rows = dict(re.findall(r"│ (\S.*?) +│ (\S.*?) +│", out))
    ratio = float(rows.pop("estimated ratio"))
    assert 10 < ratio < 50
    assert out.startswith("[in].dng")
    assert rows == {
        "camera": "Test One",
        "size": "90 × 61, 0.0 megapixels",
        "filter array": "GRBG",
        "black level R, Gr, Gb, B": "512, 512, 512, 512",
        "white level": "16000",
        "white balance R, G, B": "2, 1, 1.6",
        "exposure": "1/50 s, f/2.8, ISO 1600",
        "orientation": "to be turned clockwise",
        "estimated noise": "cannot be told",  # of a frame that small
    }
    assert err == ""


def test_info_tells_the_noise(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The sample's camera, in every phase of the pattern and with odd sides."""
    rng = np.random.default_rng(0)
    noise = CAMERAS[0].typical(1600)
    for phase in BAYER_PHASES:
        cfa = CFA.bayer(phase)
        clean = np.broadcast_to(np.linspace(0, 0.2, 361, dtype=np.float32), (299, 361))
        raw = add_noise(np.ascontiguousarray(clean), cfa, noise, rng)
        write_cfa_dng(
            folder / f"{phase}.dng",
            raw,
            cfa=cfa,
            black_level=(noise.black_level_dn,) * 4,
            white_level=noise.white_level_dn,
            white_balance=(2.0, 1.0, 1.5),
            xyz2cam=_XYZ2CAM,
            iso=1600,
            exposure_time_s=0.1,
        )
    assert main(["info", "--json", *sorted(str(file) for file in folder.glob("*.dng"))]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found) == len(BAYER_PHASES)
    for facts in found:
        assert facts["estimated_gain_dn_per_e"] == pytest.approx(noise.gain, rel=0.1)
        assert facts["estimated_read_noise_dn"] == pytest.approx(noise.read_sigma_dn, rel=0.2)


def test_info_as_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _dng(folder / "in.dng")
    (folder / "bad.dng").touch()
    assert main(["info", "--json", "in.dng", "bad.dng"]) == 1
    out, err = capsys.readouterr()
    good, bad = json.loads(out)
    assert list(good) == [
        "file",
        "camera",
        "width_px",
        "height_px",
        "cfa",
        "black_level_dn",
        "used_black_level_dn",
        "white_level_dn",
        "white_balance",
        "cam2rgb",
        "iso",
        "exposure_time_s",
        "aperture",
        "orientation",
        "lens_shading_stops",
        "lens_distortion_percent",
        "estimated_ratio",
        "estimated_gain_dn_per_e",
        "estimated_read_noise_dn",
        "warnings",
    ]
    assert (good["file"], good["width_px"], good["height_px"], good["iso"]) == ("in.dng", 90, 61, 1600)
    assert good["exposure_time_s"] == pytest.approx(1 / 50)
    np.testing.assert_allclose(np.sum(good["cam2rgb"], axis=1), 1)
    assert bad["file"] == "bad.dng"
    assert bad["error"].startswith("bad.dng: the file is empty.")
    assert err.startswith("error: bad.dng: the file is empty.")


def test_models(weights: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    assert main(["models", str(weights)]) == 0
    out, _ = capsys.readouterr()
    loaded = load_weights(weights)
    assert out.startswith("small")
    assert dict(re.findall(r"│ (\S.*?) +│ (\S.*?) +│", out)) == {
        "digest": loaded.digest,
        "network": "Alen, output camera",
        "parameters": f"{loaded.parameters:,}",
        "trained on": "drawings",
        "photographs": "12",
        "steps": "1,500",
        "licence": "Apache-2.0",
        "score at × 100": "27.50 dB, SSIM 0.710",
    }


def test_models_that_ship(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["models"]) == 0
    assert capsys.readouterr().out
    monkeypatch.setattr("alen.weights.shipped_names", tuple)
    assert main(["models"]) == 0
    assert capsys.readouterr().out == "No weights ship with this installation. Name a file with --model.\n"
    assert main(["models", "none"]) == 1
    assert capsys.readouterr().err.startswith("error: none: neither a weights file")


# ------------------------------------------------------------------------------------------------------------- train


def test_training_without_torch(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert main(["train", "camera", "--photos", "photos", "--out", "run"]) == 1
    assert capsys.readouterr() == (
        "",
        "error: Training needs torch, which is not installed. Install it with: pip install 'alen[train]'\n",
    )


def test_training_without_photographs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "camera", "--photos", "none", "--out", "run"]) == 1
    assert capsys.readouterr().err.startswith("error: none: no such folder.")


def _photographs(folder: Path) -> None:
    """Make seven photographs, of which one is held out."""
    folder.mkdir()
    for index in range(7):
        Image.new("RGB", (32, 32), (index, 0, 0)).save(folder / f"{index}.png")


def test_options_reach_the_training(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from alen.training import loop, processes

    seen: dict[str, object] = {}

    def fake(config: TrainingConfig, source: Photographs, run: Path, **others: object) -> Path:
        seen.update(others, config=config, source=source, run=run)
        report = others["report"]
        assert callable(report)
        report(loop.StepReport(1, 0.5, 1e-4, 2.0, 0.25, 1.0, None))
        report(loop.StepReport(2, 0.4, 1e-4, 2.0, 0.25, 1.0, {100.0: (20.5, 0.6)}))
        return run / "weights.safetensors"

    monkeypatch.setattr(loop, "train", fake)
    monkeypatch.setattr(processes, "find_device", lambda *_, **__: None)
    _photographs(Path("p"))
    options = {"steps": 40, "batch": 2, "patch": 32, "lr": 1e-3, "seed": 7, "threads": 1, "cache": "c", "init": "alen"}
    options |= {"accumulate": 2, "device": "cuda:1", "workers": 3, "precision": "float32"}
    given = [f"--{name}={value}" for name, value in options.items()]
    assert main(["train", "camera", "--photos", "p", "--out", "r", *given, "--resume"]) == 0
    config = seen["config"]
    assert isinstance(config, TrainingConfig)
    assert (config.steps, config.learning_rate, config.seed) == (40, 1e-3, 7)
    assert config.stages == (Stage(share=1.0, patch_size=32, batch_size=2),)
    assert (config.accumulate, config.precision) == (2, "float32")
    assert isinstance(seen["source"], Photographs)
    assert seen["source"].scenes == 6
    assert (seen["threads"], seen["initial_weights"], seen["resume"]) == (1, Path("alen"), True)
    assert (seen["device"], seen["workers"]) == ("cuda:1", 3)
    assert capsys.readouterr().out == (
        "Training on the photographs in p for 40 steps; the run is in r\n"
        "step 1 of 40: loss 0.5000, 2.00 s/step, 25% waiting for data, 1 min left\n"
        "step 2 of 40: loss 0.4000, 2.00 s/step, 25% waiting for data, ×100 20.50 dB, 1 min left\n"
        "r/weights.safetensors: the weights. Use them with --model r/weights.safetensors\n"
    )


@pytest.mark.parametrize(("processor", "precision"), [("AVX512", "bfloat16"), ("AVX2", "float32")])
def test_the_recipe_is_the_default(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    processor: str,
    precision: Literal["bfloat16", "float32"],
) -> None:
    """In float32 where bfloat16 would only be imitated."""
    from alen.training import loop, recipes

    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: processor)

    _photographs(Path("p"))
    seen: list[TrainingConfig] = []

    def fake(config: TrainingConfig, *_: object, **__: object) -> Path:
        seen.append(config)
        return Path("w")

    monkeypatch.setattr(loop, "train", fake)
    assert main(["train", "camera", "--photos", "p", "--out", "r"]) == 0
    assert seen.pop() == dataclasses.replace(recipes.camera(), precision=precision)
    for rate, final in ((1e-4, 5e-6), (2e-6, 2e-6)):
        assert main(["train", "camera", "--photos", "p", "--out", "r", "--lr", str(rate)]) == 0
        changed = seen.pop()
        assert (changed.learning_rate, changed.final_learning_rate) == (rate, final)  # it never rises


def test_every_recipe_has_a_command(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from alen.training import loop, recipes

    seen: list[TrainingConfig] = []

    def fake(config: TrainingConfig, *_: object, **__: object) -> Path:
        seen.append(config)
        return Path("w")

    monkeypatch.setattr(loop, "train", fake)
    for subset in ("sony", "fuji"):
        make_sid(folder / "sid", subset, scenes_per_split=1, splits=("train", "val"))
    names = [name for name, kind in vars(recipes).items() if name.startswith(("sid_", "ablation_")) and callable(kind)]
    assert len(names) == 10
    for name in names:
        given = ["--data", "sid", "--out", "r", "--lr", "2e-4"]
        assert main(["train", name.replace("_", "-"), *given]) == 0, capsys.readouterr().err
        recipe = getattr(recipes, name)()
        drops = tuple(dataclasses.replace(drop, learning_rate=2 * drop.learning_rate) for drop in recipe.drops)
        expected = dataclasses.replace(recipe, epochs=None, steps=recipe.epochs, learning_rate=2e-4, drops=drops)
        assert seen.pop() == expected  # of one scene, an epoch is a step
    out = capsys.readouterr().out
    assert out.startswith(
        "Training on 1 scenes of See-in-the-Dark in sid for 4,000 steps; the run is in r\n"
        "w: the weights. See what they are: alen models w\n"
    )


def test_a_training_that_cannot_start_is_not_announced(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _photographs(Path("p"))
    command = ["train", "camera", "--photos", "p", "--out", "r"]
    assert main([*command, "--device", "cuda:99"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "The device cuda:99 is not there" in err
    for weights, reason in (("none", "neither a weights file nor"), ("alen-fast", "weights of another network")):
        assert main([*command, "--init", weights]) == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert reason in err
    assert not Path("r").exists()
    Path("r").mkdir()
    Path("r/checkpoint.safetensors").touch()
    assert main(command) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "a run is there already" in err
    assert main([*command[:-1], "r/checkpoint.safetensors"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "is a file" in err


def test_interrupting_a_training(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from alen.training import loop

    _photographs(Path("p"))

    def fake(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "train", fake)
    assert main(["train", "camera", "--photos", "p", "--out", "r"]) == 130
    assert "before anything was saved; start again with the same command" in capsys.readouterr().err
    Path("r").mkdir(exist_ok=True)
    save_file({"a": np.zeros(1)}, "r/checkpoint.safetensors", metadata={"step": "1500"})
    assert main(["train", "camera", "--photos", "p", "--out", "r", "--resume"]) == 130
    assert "go on from step 1,500 with the same command and --resume" in capsys.readouterr().err
    monkeypatch.setenv("WORLD_SIZE", "2")  # of several processes the first alone knows, and tells
    monkeypatch.setenv("RANK", "1")
    assert main(["train", "camera", "--photos", "p", "--out", "r", "--resume"]) == 130
    assert capsys.readouterr() == ("", "")
