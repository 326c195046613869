"""Calibrating a camera: from dark and flat frames to the parameters of the noise model (`alen.noise`).

*Gain.* Light arrives as a Poisson process, so the variance of a pixel over time is a line over its mean, whose slope is
the system gain K: the photon-transfer curve, EMVA Standard 1288, release 4.0, sections 5 to 7
(https://www.emva.org/standards-technology/emva-1288/), with signal-dependent noise as in Foi et al., "Practical
Poissonian-Gaussian Noise Modeling and Fitting for Single-Image Raw-Data", IEEE TIP 17(10), 2008. Fixed patterns and the
scene fall out of the variance over time, so a burst of a still scene serves as well as frames of a white wall.

*Darks.* Read noise as a Gaussian and as a Tukey-lambda distribution whose shape maximizes the probability plot
correlation coefficient (PPCC), row noise, and the black level of the colors, as in Wei et al., "A Physics-based Noise
Formation Model for Extreme Low-light Raw Denoising", CVPR 2020 (https://arxiv.org/abs/2003.12751). Two things differ.
They fit single frames; here it is differences of successive frames, from which hot pixels and fixed patterns fall out,
against the distribution of a *difference* of two independent values that were rounded. And what a whole frame has in
common (drift) is told apart from what its rows have of their own (row noise).

Frames are taken one after the other; per pixel 18 bytes are kept, however many frames there are. Confidence intervals
are 95 %: by bootstrap over 48 parts of the frame and over bands of rows, and from the chi-squared and Student's
distribution for what is estimated from as few numbers as there are frames.

Everything is numpy. DN are digital numbers at the file's bit depth; quantities per CFA color are ordered R, Gr, Gb, B.

`camera` calibrates a camera from its files, which `frames` reads; `darks` and `read_shape` measure what is there
without light, `flats` the gain; `stacks` and `blocks` are what frames are gathered in, `intervals` how far figures are
to be trusted.
"""

from alen.calibrate.camera import MAX_DARK_SHARE_OF_FLATS, MAX_HOT_LISTED, Calibration, calibrate
from alen.calibrate.darks import HOT_SIGMAS, DarkNoise, Drift, black_drift, dark_noise
from alen.calibrate.flats import MAX_FLICKER, FlatPoints, PhotonTransfer, fit_gain, flat_points, photon_transfer
from alen.calibrate.frames import MAX_DARK_SHARE
from alen.calibrate.read_shape import LAMBDA_SIGMA_DN, ReadShape, difference_density
from alen.calibrate.stacks import LINEAR_SHARE

__all__ = [
    "HOT_SIGMAS",
    "LAMBDA_SIGMA_DN",
    "LINEAR_SHARE",
    "MAX_DARK_SHARE",
    "MAX_DARK_SHARE_OF_FLATS",
    "MAX_FLICKER",
    "MAX_HOT_LISTED",
    "Calibration",
    "DarkNoise",
    "Drift",
    "FlatPoints",
    "PhotonTransfer",
    "ReadShape",
    "black_drift",
    "calibrate",
    "dark_noise",
    "difference_density",
    "fit_gain",
    "flat_points",
    "photon_transfer",
]
