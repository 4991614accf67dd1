"""Resident memory of this process, as Linux' /proc says it."""

from __future__ import annotations

from pathlib import Path

# Not getrusage: its maximum survives exec, so it would be the parent's.
STATUS = Path("/proc/self/status")
NOW, PEAK = "VmRSS", "VmHWM"


def resident_mb(kind: str) -> float:
    """What is resident, in MB: NOW or at the PEAK."""
    return float(next(line for line in STATUS.read_text().splitlines() if line.startswith(kind)).split()[1]) / 1024
