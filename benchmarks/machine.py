"""The machine that a measurement was made on."""

import platform
from pathlib import Path


def processor() -> str:
    """Return the processor's name as reported by the system, for example "AMD EPYC"."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
