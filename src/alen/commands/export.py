"""`alen export`: a network as an ONNX file."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from alen.commands.console import OK, Flag
from alen.errors import SettingsError, WeightsError


def export(
    *,
    output: Annotated[Path, Parameter(name=("--output", "-o"))],
    model: str = "alen",
    force: Annotated[bool, Flag] = False,
) -> int:
    """Write a network as an ONNX file, to run it in other programs.

    Needs the package onnx: pip install 'alen[export]'.

    Args:
        output: The file, NAME.onnx.
        model: Name of shipped weights (see "alen models"), or a weights file.
        force: Replace an existing file.
    """
    if output.suffix.lower() != ".onnx":
        raise SettingsError(f"{output}: an ONNX file ends in .onnx. Name it so.")
    if output.exists() and not force:
        raise WeightsError(f"{output}: is there already. Replace it with --force, or name another file.")
    if find_spec("onnx") is None:
        raise WeightsError("Exporting needs onnx, which is not installed. Install it with: pip install 'alen[export]'")
    from alen.onnx_file import OPSET, write_onnx
    from alen.weights import find_weights, load_weights

    weights = load_weights(find_weights(model))
    try:
        write_onnx(output, weights)
    except OSError as error:
        raise WeightsError(f"{output}: cannot be written ({error.strerror or error}). Choose another place.") from error
    config = weights.config
    print(
        f"{output}: {weights.name} {weights.digest}, opset {OPSET}; "
        f"planes (1, {config.plane_count}, h, w) → picture (1, 3, {config.shuffle}h, {config.shuffle}w)"
    )
    return OK
