"""docs/reproduce-sid.md: its commands run on a miniature set as they stand on the page, so that it cannot rot.

Blocks marked ``sh run`` are executed, those marked ``sh check`` parsed alone: downloads, several processes, Fuji frames
(which cannot be small) and public weights.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Final

import pytest

from alen.cli import app, main
from alen.commands.console import FAILED, OK
from alen.training import losses
from miniature import make_sid

_PAGE: Final = Path(__file__).parents[1] / "docs" / "reproduce-sid.md"

_LIGHT: Final = {
    "data": [],
    "train": ["--steps", "2", "--patch", "16", "--threads", "1", "--workers", "0"],
    "evaluate": ["--partial", "--threads", "1"],
}
"""What a miniature and a small computer need beside the page's own options."""

_HEAVY: Final = re.compile(r" --(device cuda|workers \d+)\b")
"""What of them is left out."""


def _commands(mark: str) -> list[str]:
    """Return the commands of the blocks with a mark, one a line."""
    blocks = re.findall(rf"^```sh {mark}\n(.*?)^```$", _PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line]


def _arguments(command: str) -> list[str]:
    """Return what follows the program's name."""
    program = re.fullmatch(r"(?:alen|torchrun --nproc-per-node \d+ -m alen\.cli) (.*)", command)
    assert program is not None, command
    return shlex.split(program[1])


@pytest.mark.parametrize("command", _commands("run") + _commands("check"))
def test_the_program_knows_the_command(command: str) -> None:
    app.parse_args(_arguments(command), exit_on_error=False, print_error=False)


def test_the_commands_lead_to_the_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_sid(tmp_path / "sid", "sony")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(losses, "MS_SSIM_WEIGHTS", (1.0,))  # five scales have no room in a miniature
    commands = _commands("run")
    assert len(commands) > 10
    for command in commands:
        arguments = _arguments(_HEAVY.sub("", command))
        expected = FAILED if "--check" in arguments else OK  # a miniature is not complete
        assert main(arguments + _LIGHT[arguments[0]]) == expected, f"{command}\n{capsys.readouterr().err}"
        capsys.readouterr()
    report = (tmp_path / "evaluation" / "tables" / "report.md").read_text(encoding="utf-8")
    rows = ["sid-unet-sony", "ablation-backbone", "ablation-channel-attention", "ablation-mixed-attention", "sid-sony"]
    for row in (*rows, "sid-sony-released"):
        assert re.search(rf"^\| {row} \| known \| .* \| 4 \|$", report, re.MULTILINE), row
    assert "4 of 88 images" in report
