"""`alen convert`: weights of other programs as weights files of ours."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from alen.commands.console import OK, Flag, require_torch
from alen.errors import SettingsError, WeightsError


def convert(
    state_dict: Annotated[Path, Parameter(name="STATE_DICT")],
    /,
    *,
    output: Annotated[Path, Parameter(name=("--output", "-o"))],
    network: Literal["sid-unet", "alen"] = "sid-unet",
    plane_order: Literal["sid", "ours"],
    released: Annotated[bool, Parameter(negative=(), show_default=False)] = False,
    licence: str = "unknown",
    force: Annotated[bool, Flag] = False,
) -> int:
    """Turn published weights into a weights file.

    Reads the See-in-the-Dark U-Net under the names of its TensorFlow variables
    or of its PyTorch ports, and the attention network under our names.

    Args:
        state_dict: Tensors by name: .safetensors, .npz, or .pth with tensors alone.
        output: The weights file, NAME.safetensors.
        network: Which network they are of.
        plane_order: Order of the planes they were trained with: "sid" is R, Gr, B, Gb, "ours" R, Gr, Gb, B.
        released: Of the attention network: the form of the released code, with max-pooling.
        licence: Licence of the weights.
        force: Replace an existing file.
    """
    if output.suffix.lower() != ".safetensors":
        raise SettingsError(f"{output}: a weights file ends in .safetensors. Name it so.")
    if output.exists() and not force:
        raise WeightsError(f"{output}: is there already. Replace it with --force, or name another file.")
    require_torch("Converting weights", WeightsError)
    from alen.config import AlenConfig, SidUnetConfig
    from alen.convert import Arrays, convert_alen, convert_sid_unet, read_state_dict
    from alen.training.recipes import sid_sony, sid_sony_released
    from alen.weights import TrainingFacts, save_weights

    found = read_state_dict(state_dict)
    arrays: Arrays
    config: AlenConfig | SidUnetConfig
    if network == "sid-unet":
        arrays, config = convert_sid_unet(found, plane_order=plane_order)
    else:
        recipe = (sid_sony_released if released else sid_sony)()
        assert isinstance(recipe.network, AlenConfig)
        planes = found["stem.conv1.weight"].shape[1] if "stem.conv1.weight" in found else 16
        form = replace(recipe.network, cfa="xtrans" if planes % 9 == 0 else "bayer")
        arrays, config = convert_alen(found, form, plane_order=plane_order)
    facts = TrainingFacts(
        steps=0, photographs=0, licence=licence, data=f"unknown; converted from {state_dict.name}, planes {plane_order}"
    )
    save_weights(output, arrays, config, facts)
    count = sum(array.size for array in arrays.values())
    print(f"{output}: {count:,} weights of {type(config).__name__.removesuffix('Config')}, filter array {config.cfa}")
    return OK
