"""Published figures to stand beside ours, each with its paper and how far it may be trusted.

The paper is the method's; its figure may stand in the comparison of a later one, whose protocol it then has.

A figure is shown beside a run only under the protocol it was measured with. Those whose protocol is another, or was not
stated, are shown apart, because the same weights score 28.88, 28.59 and 28.98 dB on three selections of the same set.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Mark = Literal["S", "C", "R"]
"""S: read in print. C: computed from printed figures or published pictures. R: recalled, not checked again."""

MARKS: Final = {
    "S": "read in print",
    "C": "computed from printed figures or published pictures",
    "R": "recalled, not checked again: verify before quoting",
}
"""The marks in words."""

PAPER: Final = "Zhang et al., Attention-based network for low-light image enhancement, ICME 2020, arXiv 2005.09829"
"""Source of the paper's table."""


@dataclass(frozen=True)
class Published:
    """One printed figure."""

    method: str
    """As the source names it."""
    protocol: str
    """Our name of the protocol it was measured with; "sid-sony" or "sid-fuji" where the source does not say which."""
    ratio: int | None
    """Exposure ratio; None for all."""
    psnr_db: float
    """PSNR in dB, mean over images."""
    ssim: float | None
    """SSIM as printed; its variant is the source's."""
    source: str
    """The paper that prints the figure, or that of the method where only a later comparison prints it."""
    mark: Mark = "S"
    """How far it may be trusted."""
    note: str = ""
    """What to know about it."""


def _paper_table() -> tuple[Published, ...]:
    columns = ("BM3D", "SID", "Residual", "ALEN")
    rows: tuple[tuple[int | None, tuple[float, ...]], ...] = (
        (100, (18.76, 30.08, 30.53, 31.53)),
        (250, (17.60, 28.42, 28.78, 29.70)),
        (300, (17.42, 28.52, 28.38, 28.66)),
        (None, (17.88, 28.89, 29.16, 29.86)),
    )
    ssim = dict(zip(columns, (0.498, 0.784, 0.783, 0.787), strict=True))
    return tuple(
        Published(
            method,
            "sid-sony-88",
            ratio,
            psnr,
            ssim[method] if ratio is None else None,
            PAPER,
            note="the mean of its rows is 28.97" if (method, ratio) == ("SID", None) else "",
        )
        for ratio, row in rows
        for method, psnr in zip(columns, row, strict=True)
    )


_SID: Final = "Chen et al., Learning to See in the Dark, CVPR 2018, arXiv 1805.01934"
_SGN: Final = "Gu et al., Self-guided network, ICCV 2019"
_LDC: Final = "Xu et al., Learning to restore low-light images via decomposition-and-enhancement, CVPR 2020"
_EEMEFN: Final = "Zhu et al., EEMEFN, AAAI 2020"
_MCR: Final = "Dong et al., Abandoning the Bayer-filter to see in the dark, CVPR 2022"
_LAMBA: Final = "Lamba and Mitra, Restoring extremely dark images in real time, CVPR 2021"
_LLPACKNET: Final = "Lamba et al., Towards fast and light-weight restoration of dark images, BMVC 2020"
_LATER: Final = "printed in a later comparison"
_DNF: Final = "Jin et al., DNF, CVPR 2023"

_RAWMAMBA: Final = "Chen et al., Retinex-RAWMamba, arXiv 2409.07040"

_SAME_WEIGHTS: Final = (
    Published("SID", "sid-sony-598", None, 28.88, 0.798, _SID, "C", "the authors' weights"),
    Published("SID", "sid-sony-93", None, 28.59, 0.783, _SID, "C", "the authors' weights"),
    Published("SID", "sid-sony-88", None, 28.98, None, _SID, "C", "the authors' weights"),
)
"""One set of weights under three protocols."""

_LEADERBOARD: Final = (
    Published("SID", "sid-sony", None, 28.88, 0.787, _SID),
    Published("SGN", "sid-sony", None, 28.91, 0.789, _SGN),
    Published("LDC", "sid-sony", None, 29.56, 0.799, _LDC),
    Published("EEMEFN", "sid-sony", None, 29.60, 0.795, _EEMEFN),
    Published("MCR", "sid-sony", None, 29.65, 0.797, _MCR, "R"),
    Published("Lamba & Mitra", "sid-sony", None, 28.66, 0.790, _LAMBA),
    Published("DNF", "sid-sony", None, 30.62, 0.797, _DNF),
    Published("RAWMamba", "sid-sony", None, 30.76, None, _RAWMAMBA, "R", "about"),
    Published("SIED", "sid-sony", None, 31.20, None, "third party", note="no ratio known"),
    Published("SID, ratio estimated", "sid-sony", None, 22.93, 0.70, _SID, note=_LATER),
    Published("SGN, ratio estimated", "sid-sony", None, 21.90, 0.59, _SGN, note=_LATER),
    Published("LLPackNet, ratio estimated", "sid-sony", None, 23.27, 0.69, _LLPACKNET, note=_LATER),
    Published("SID", "sid-fuji", None, 26.61, 0.680, _SID),
    Published("SGN", "sid-fuji", None, 26.90, 0.683, _SGN),
    Published("LDC", "sid-fuji", None, 26.70, 0.681, _LDC),
    Published("EEMEFN", "sid-fuji", None, 27.38, 0.723, _EEMEFN),
    Published("Lamba & Mitra", "sid-fuji", None, 26.60, 0.682, _LAMBA),
    Published("DNF", "sid-fuji", None, 28.71, 0.726, _DNF, "R"),
    Published("RAWMamba", "sid-fuji", None, 29.0, None, _RAWMAMBA, "R", "about"),
)
"""Printed side by side in papers, of several protocols."""


def _eld_table() -> tuple[Published, ...]:
    eld = "Wei et al., A physics-based noise formation model, CVPR 2020"
    pmn = "Feng et al., Learnability enhancement for low-light raw denoising, ACM MM 2022"
    pnnp = "Feng et al., Physics-guided noise neural proxy, 2023"
    rows = (
        ("Poisson–Gaussian", 42.05, 0.872, 38.18, 0.783, eld),
        ("paired real data", 44.47, 0.968, 41.97, 0.928, eld),
        ("ELD noise model", 45.45, 0.975, 43.43, 0.954, eld),
        ("PMN", 46.99, 0.984, 44.85, 0.969, pmn),
        ("PNNP", 47.31, 0.988, 45.47, 0.979, pnnp),
    )
    note = "scores a denoised mosaic; ours is demosaicked first"
    return tuple(
        Published(method, f"eld-SonyA7S2-x{ratio}", ratio, psnr, ssim, source, note=note)
        for method, psnr100, ssim100, psnr200, ssim200, source in rows
        for ratio, psnr, ssim in ((100, psnr100, ssim100), (200, psnr200, ssim200))
    )


PUBLISHED: Final = (*_paper_table(), *_SAME_WEIGHTS, *_LEADERBOARD, *_eld_table())
"""All figures."""


def same_protocol(name: str) -> tuple[Published, ...]:
    """Return the figures measured with the protocol of this name."""
    return tuple(figure for figure in PUBLISHED if figure.protocol == name)


def other_protocols(name: str) -> tuple[Published, ...]:
    """Return the figures of the same data set whose protocol is another or was not stated."""
    family = next((family for family in ("sid-sony", "sid-fuji") if name.startswith(family)), None)
    if family is None or name.endswith("val"):
        return ()
    return tuple(
        figure
        for figure in PUBLISHED
        if figure.protocol.startswith(family) and figure.protocol != name and figure.ratio is None
    )
