"""What every measurement writes: its rows, and where, when and of what they were taken."""

import datetime
import json
import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "bench" / "results"
TELLING_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_bf16", "amx_int8")


def write(path: Path | None, bench: str, rows: list[dict[str, Any]], **more: Any) -> None:
    """Write `rows`, with `more` about them and all that `circumstances` says, as JSON; no path, no file.

    What came of a change that is not committed is marked `dirty`.
    """
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(path.name + ".part")
    aside.write_text(json.dumps({"bench": bench, **circumstances(), **more, "rows": rows}, indent=1) + "\n")
    aside.replace(path)


def read(path: Path) -> dict[str, Any]:
    """What `write` wrote; nothing where there is no such file."""
    return json.loads(path.read_text()) if path.exists() else {}


def circumstances() -> dict[str, Any]:
    """Date, commit, machine, versions, arguments."""
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "commit": _git("rev-parse", "--short=12", "HEAD"),
        "dirty": bool(_git("status", "--porcelain", "--", "chatbot", "bench", "cpp")),
        "machine": machine(),
        "versions": {"python": platform.python_version()} | {n: _version(n) for n in ("torch", "onnxruntime", "numpy")},
        # a path's last part says which corpus; where it lies is nobody's business
        "arguments": [Path(word).name if os.sep in word else word for word in sys.argv[1:]],
    }


def machine() -> dict[str, Any]:
    """Processor, its cores and the instructions that matter here, and how many processes were at work beside."""
    about: dict[str, Any] = {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()}
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = [line.partition(":") for line in cpuinfo.read_text().splitlines()]
        first = {name.strip(): value.strip() for name, _, value in reversed(lines)}
        flags = first.get("flags", "").split()
        about |= {"processor": first.get("model name", about["processor"])}
        about["flags"] = [flag for flag in TELLING_FLAGS if flag in flags]
    about["load"] = round(os.getloadavg()[0], 2)
    return about


def markdown(rows: list[dict[str, Any]], columns: dict[str, tuple[str, str]]) -> str:
    """Rows as a table of Markdown: `columns` maps a heading to a row's key and the format of its values."""
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    for row in rows:
        cells = ["" if row.get(key) is None else format(row[key], form) for key, form in columns.values()]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _git(*words: str) -> str | None:
    done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
