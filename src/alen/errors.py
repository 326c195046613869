"""Everything that can go wrong, as one tree.

AlenError
├── RawError                    a RAW file cannot be used
│   ├── RawNotFoundError        there is no such file (also a FileNotFoundError)
│   ├── NotRawError             it is something else: a JPEG, text, an empty file
│   ├── CorruptRawError         it is a RAW file, but damaged or truncated
│   └── UnsupportedRawError     it is a sound RAW file of a kind we do not process
├── PictureError                a picture cannot be written
├── WeightsError                a weights file is missing, damaged or made for something else
├── DeviceError                 the device that was asked for is not there
├── SettingsError               a setting is out of its range (also a ValueError)
├── DataError                   a data set is incomplete or has another layout
├── CalibrationError            frames do not fit together or do not show a camera's noise, or a calibration is damaged
├── ServerError                 the web page cannot be served
└── TrainingError               training cannot start, go on or be resumed

A message says what was expected, what came, and what to do next; it names the file when there is one.
"""


class AlenError(Exception):
    """Root of every error that alen raises on purpose."""


class RawError(AlenError):
    """A RAW file cannot be used."""


class RawNotFoundError(RawError, FileNotFoundError):
    """There is no such file."""


class NotRawError(RawError):
    """The file is not a RAW file at all."""


class CorruptRawError(RawError):
    """The file is a RAW file, but damaged or truncated."""


class UnsupportedRawError(RawError):
    """The file is a sound RAW file of a kind that is not processed."""


class PictureError(AlenError):
    """A picture cannot be written."""


class WeightsError(AlenError):
    """A weights file is missing, damaged or made for something else."""


class DeviceError(AlenError):
    """The device that was asked for is not there."""


class SettingsError(AlenError, ValueError):
    """A setting is out of its range."""


class DataError(AlenError):
    """A data set is incomplete or has another layout."""


class CalibrationError(AlenError):
    """Frames do not fit together or do not show a camera's noise, or a calibration is damaged."""


class ServerError(AlenError):
    """The web page cannot be served."""


class TrainingError(AlenError):
    """Training cannot start, go on or be resumed."""
