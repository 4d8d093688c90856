"""The notebook runs from top to bottom, in a folder of its own, and what it says comes out."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK = json.loads((ROOT / "docs" / "tutorial.ipynb").read_text("utf-8"))


def code() -> str:
    """The cells as one program, without the lines that install the package in Colab."""
    cells = ["".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]
    return "\n".join(cells)


def test_it_is_kept_without_what_it_printed() -> None:
    assert NOTEBOOK["nbformat"] == 4
    assert all(not cell["outputs"] for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code")


@pytest.mark.slow
def test_it_runs_from_top_to_bottom(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ran = subprocess.run([sys.executable, "-c", code()], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert "> hello\n" in ran.stdout
    assert (tmp_path / "notebook" / "export" / "chatbot.pt").is_file()
    assert (tmp_path / "notebook" / "attention.png").stat().st_size > 1000
