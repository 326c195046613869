"""ALEN: from an almost black RAW photograph to a finished picture, with one attention network."""

__version__ = "0.1.0"
