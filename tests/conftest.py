"""Fixtures for every test."""

from pathlib import Path

import pytest

_SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the evaluation data beside the repository; the test is skipped where it is not there."""
    data = _SHARED / "data"
    if not data.is_dir():
        pytest.skip("the evaluation data are not part of the repository; this test needs ../shared/data")
    return data
