"""What every measurement writes: what it found, the lines for the one table, and where, when and of what.

    python bench/results.py > bench/results/README.md

writes the list of the measurements that are kept, and marks those of another version.

To be imported before torch: it finds the program, and has threads wait as the program has them.
"""

import datetime
import hashlib
import json
import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from chatbot import __version__
from chatbot.system.process import wait_briefly

wait_briefly()

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "bench" / "results"
BOX = ROOT / "checkpoints" / "pretrained" / "best.pt"  # several benches measure replies of the bot in the box
TELLING_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_bf16", "amx_int8")


def line(
    what: str,
    unit: str,
    ours: float | None,
    baseline: float | None = None,
    *,
    bound: float | None = None,
    memory: float | None = None,
    baseline_memory: float | None = None,
    note: str = "",
) -> dict[str, Any]:
    """A line of the one table: a figure, its baseline from the same run, and how near it is to what the machine can do.

    Args:
        unit: of the three figures; less is better of `s` and `ms`, more of everything else.
        ours: None where it could not be measured; then `note` says why.
        bound: the least time, or the highest rate, that the machine's own measured rates allow.
        memory, baseline_memory: at their peak, in MB.
    """
    less = unit in ("s", "ms")
    return {
        "what": what,
        "unit": unit,
        "ours": ours,
        "baseline": baseline,
        "times_better": (baseline / ours if less else ours / baseline) if ours and baseline else None,
        "bound": bound,
        "of_bound": (bound / ours if less else ours / bound) if ours and bound else None,
        "peak_mb": memory,
        "baseline_peak_mb": baseline_memory,
        "note": note,
    }


def write(path: Path | None, bench: str, **found: Any) -> None:
    """Write what was found, with all that `circumstances` says, as JSON; no path, no file.

    `table` holds the measurement's lines of the one table.
    """
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(path.name + ".part")
    aside.write_text(json.dumps({"bench": bench, **circumstances(), **found}, indent=1) + "\n")
    aside.replace(path)


def read(path: Path) -> dict[str, Any]:
    """What `write` wrote; nothing where there is no such file."""
    return json.loads(path.read_text()) if path.exists() else {}


def circumstances() -> dict[str, Any]:
    """Date, commit, version, the bot in the box, machine, versions of packages, arguments."""
    code = ("chatbot", "bench", "cpp", ":(exclude)bench/results")
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "commit": _git("rev-parse", "--short=12", "HEAD"),
        "version": __version__,
        "box": hashlib.sha256(BOX.read_bytes()).hexdigest()[:12] if BOX.exists() else None,
        "dirty": bool(_git("status", "--porcelain", "--", *code)),
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


def listing(folder: Path = FOLDER) -> str:
    """The list of the measurements in a folder: of what each was made, on what machine, and whether of this version."""
    rows = []
    for path in sorted(folder.glob("*.json")):
        found = read(path)
        about, packages = found["machine"] or {}, found["versions"] or {}
        flags = [flag for flag in about.get("flags", ()) if flag != "avx2"]
        where = ", ".join(filter(None, [about.get("processor"), *flags, f"torch {packages.get('torch')}"]))
        rows.append(
            {
                "file": f"`{path.name}`",
                "by": f"`bench/{found['bench']}.py`",
                "commit": found["commit"] + (" and changes" if found["dirty"] else ""),
                "version": found["version"] + ("" if found["version"] == __version__ else ", **older**"),
                "box": found.get("box") or "",
                "machine": where if about else "not recorded",
            }
        )
    columns = {name: (name, "") for name in ("file", "by", "commit", "version", "box", "machine")}
    return LIST.format(version=__version__, table=table(rows, columns))


LIST = """# Measurements that are kept

`python bench/results.py > bench/results/README.md` writes this list, and a test compares it with the files.
The program is version {version}. A measurement of another version is marked **older**: the code that it
describes has changed since. `box` is the beginning of the SHA-256 of the bot in the box
(`checkpoints/pretrained/best.pt`) whose replies were measured. Each file has the arguments, too.

{table}
"""


def table(rows: list[dict[str, Any]], columns: dict[str, tuple[str, str]]) -> str:
    """Rows as a table of Markdown, its columns aligned: a heading -> a row's key and the format of its values.

    The format `short` is three digits or so, whatever the size.
    """
    lines = [list(columns)]
    for row in rows:
        lines.append(["" if row.get(key) is None else _cell(row[key], form) for key, form in columns.values()])
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    texts = [all(isinstance(row.get(key), str | None) for row in rows) for key, _ in columns.values()]
    lines.insert(
        1, ["-" * width if text else "-" * (width - 1) + ":" for width, text in zip(widths, texts, strict=True)]
    )
    return "\n".join(
        "| "
        + " | ".join(c.ljust(w) if text else c.rjust(w) for c, w, text in zip(cells, widths, texts, strict=True))
        + " |"
        for cells in lines
    )


def _cell(value: Any, form: str) -> str:
    if form == "short":
        form = ",.0f" if abs(value) >= 100 else ".1f" if abs(value) >= 10 else ".2f"
    return format(value, form)


def _git(*words: str) -> str | None:
    done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    print(listing(), end="")
