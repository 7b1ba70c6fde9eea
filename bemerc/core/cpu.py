"""The processor cores that this process may use."""

from __future__ import annotations

import contextlib
import math
import os
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")


def usable_cores() -> int:
    """How many cores this process may use: fewer than the machine has under taskset, in containers with a quota
    (``docker run --cpus``), and in a job of SLURM, which may grant cores without binding the job to them."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    granted = os.environ.get("SLURM_CPUS_PER_TASK", "")
    limits = [bound, *_quotas(), *([int(granted)] if granted.isdecimal() else [])]
    return max(1, min(limits))


def _quotas() -> list[int]:
    """Cores by the quotas of this process's control groups and of those that they lie in (version 2, and 1), rounded
    up."""
    quotas = []
    with contextlib.suppress(OSError, ValueError):
        for line in _MEMBERSHIP.read_text(encoding="utf-8").splitlines():
            _, controllers, group = line.split(":", 2)
            if controllers and "cpu" not in controllers.split(","):
                continue
            root = _CGROUPS / controllers if (_CGROUPS / controllers).is_dir() else _CGROUPS / "cpu"
            directory = (root if controllers else _CGROUPS) / group.lstrip("/")
            for folder in (directory, *directory.parents):
                quotas += [_quota(folder)] if folder.is_relative_to(_CGROUPS) else []
    return [quota for quota in quotas if quota]


def _quota(folder: Path) -> int:
    """Cores by the quota of one control group; 0 where it has none."""
    with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
        if (folder / "cpu.max").is_file():
            quota, period = (folder / "cpu.max").read_text(encoding="utf-8").split()
        else:
            quota, period = (
                (folder / f"cpu.cfs_{name}_us").read_text(encoding="utf-8") for name in ("quota", "period")
            )
        return max(0, math.ceil(int(quota) / int(period)))
    return 0
