"""What was measured, and how it is written: JSON (and read again), CSV, Markdown."""

from __future__ import annotations

import csv
import io
import json
import os
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from statistics import median, quantiles
from typing import Any

#: Raised when the layout of the JSON changes.
FORMAT = 1


class CannotWrite(Exception):
    """A file of results cannot be written; the message says which and why."""


class NotResults(Exception):
    """A file holds no results of ours."""


@dataclass
class Measurement:
    """A case in one library: seconds of one run of the work, a sample a round; or why there are none.

    ``control`` holds the samples of work that no library does (`runner.control`), taken in the same
    rounds: if it is slower, the machine was.
    """

    case: str
    what: str
    library: str
    samples: list[float] = field(default_factory=list)
    control: list[float] = field(default_factory=list)
    nbytes: float | None = None
    flops: float | None = None
    nodes: int | None = None
    size: int | None = None
    line: str = ""
    share: float | None = None  # of what the machine can do (`peaks`)
    memory: int | None = None  # bytes (`memory`)
    cannot: str = ""
    error: str = ""
    note: str = ""  # of what was measured all the same

    @property
    def median(self) -> float | None:
        """The median of the samples."""
        return median(self.samples) if self.samples else None

    @property
    def best(self) -> float | None:
        """The least of the samples."""
        return min(self.samples, default=None)

    @property
    def spread(self) -> float | None:
        """The distance of the quartiles, as a part of the median."""
        if len(self.samples) < 2:
            return None
        low, middle, high = quantiles(self.samples, n=4, method="inclusive")
        return (high - low) / middle if middle else None

    def rate(self, amount: float | None) -> float | None:
        """An amount of bytes or operations per second, in units of 10^9."""
        middle = self.median
        return None if amount is None or not middle else amount / middle / 1e9

    def facts(self) -> dict[str, Any]:
        """One line of a table: names and plain values."""
        return {
            "case": self.case,
            "library": self.library,
            "median_s": self.median,
            "min_s": self.best,
            "spread": self.spread,
            "samples": len(self.samples),
            "GB_per_s": self.rate(self.nbytes),
            "GFLOP_per_s": self.rate(self.flops),
            "share_of_peak": self.share,
            "memory_bytes": self.memory,
            "note": self.error or self.cannot or self.note,
        }


@dataclass
class Report:
    """A run of ``jitgrad bench``."""

    about: dict[str, Any] = field(default_factory=dict)
    measurements: list[Measurement] = field(default_factory=list)
    interrupted: bool = False

    def of(self, library: str) -> dict[str, Measurement]:
        """What was measured of a library, by case."""
        return {m.case: m for m in self.measurements if m.library == library}

    @property
    def libraries(self) -> list[str]:
        """The libraries, in the order in which they were asked for."""
        return list(dict.fromkeys(m.library for m in self.measurements))

    def failed(self) -> list[Measurement]:
        """Those that failed or gave other numbers."""
        return [m for m in self.measurements if m.error]

    def as_json(self) -> str:
        """Everything, samples too."""
        facts = {"format": FORMAT, "about": self.about, "interrupted": self.interrupted}
        rows = [
            asdict(m) | {"median": m.median, "min": m.best, "spread": m.spread}
            for m in self.measurements
        ]
        return json.dumps(facts | {"measurements": rows}, indent=1) + "\n"

    @staticmethod
    def from_json(text: str) -> Report:
        """Read what `as_json` wrote.

        Raises
        ------
        NotResults
            If it is something else, or of another version.
        """
        try:
            data = json.loads(text)
            if data["format"] != FORMAT:
                raise NotResults(f"results of format {data['format']}; this is format {FORMAT}")
            names = {f.name for f in fields(Measurement)}
            rows = [
                Measurement(**{k: v for k, v in row.items() if k in names})
                for row in data["measurements"]
            ]
            return Report(data["about"], rows, data["interrupted"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise NotResults(f"not results of jitgrad bench ({error})") from None

    def as_csv(self) -> str:
        """A line per case and library."""
        out = io.StringIO()
        names = list(Measurement("", "", "").facts())
        writer = csv.DictWriter(out, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(m.facts() for m in self.measurements)
        return out.getvalue()

    def as_markdown(self) -> str:
        """A table with a column of medians per library."""
        libraries = self.libraries
        lines = [
            ", ".join(f"{k} {v}" for k, v in self.about.items()),
            "",
            f"| case | {' | '.join(libraries)} | spread |",
            f"| --- |{' ---: |' * (len(libraries) + 1)}",
        ]
        for case in dict.fromkeys(m.case for m in self.measurements):
            row = {m.library: m for m in self.measurements if m.case == case}
            cells = [
                duration(row[n].median) if n in row and row[n].samples else "-" for n in libraries
            ]
            spread = row[libraries[0]].spread if libraries[0] in row else None
            lines.append(f"| {case} | {' | '.join(cells)} | {percent(spread)} |")
        return "\n".join(lines) + "\n"


def duration(seconds: float | None, nodes: int | None = None) -> str:
    """Write a time with three digits and its unit, per node if there is a number of nodes."""
    if seconds is None:
        return "-"
    if nodes is not None:
        return f"{1e9 * seconds / nodes:.0f} ns/node"
    for factor, unit in ((1.0, "s"), (1e3, "ms"), (1e6, "us")):
        if seconds * factor >= 1.0:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def percent(part: float | None) -> str:
    """A part as a percentage."""
    return "-" if part is None else f"{100 * part:.0f}%"


def size(nbytes: float | None) -> str:
    """Bytes for people."""
    if nbytes is None:
        return "-"
    for unit in ("B", "KiB", "MiB"):
        if nbytes < 1024:
            return f"{nbytes:.0f} {unit}" if unit == "B" else f"{nbytes:.1f} {unit}"
        nbytes /= 1024
    return f"{nbytes:.1f} GiB"


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file whole or not at all: beside its place, then renamed.  A device or a pipe is written to.

    Raises
    ------
    CannotWrite
        If the folder is not there, cannot be written or is full.
    """
    data = content.encode() if isinstance(content, str) else content
    temporary = None
    try:
        if _is_stream(path):
            path.write_bytes(data)
            return
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError):
            reason = error.strerror or error
            raise CannotWrite(f"cannot write {path}: {reason}") from None
        raise


def _is_stream(path: Path) -> bool:
    """Whether a path is there and is a device or a pipe, which must not be replaced by a file."""
    return path.exists() and (not path.is_file() or path.parent == Path("/dev"))


def check_writable(paths: Iterable[Path]) -> None:
    """Raise CannotWrite now, before anything is measured, if one of the files could not be written."""
    for path in paths:
        if path.is_dir():
            raise CannotWrite(f"cannot write {path}: it is a folder")
        if _is_stream(path):
            if not os.access(path, os.W_OK):
                raise CannotWrite(f"cannot write {path}: permission denied")
            continue
        try:
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
        except OSError as error:
            raise CannotWrite(f"cannot write {path}: {error.strerror or error}") from None
        os.close(handle)
        os.unlink(name)
