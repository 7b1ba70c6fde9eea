"""A job script for SLURM: the same command in many tasks that share one store (``bemerc extract --slurm``)."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from bemerc.core.errors import BemercError

# SIGTERM comes so long before the time is up; what is unfinished then is begun anew by whoever comes next.
_WARNING_S = 60
_CORES = 4
# A worker needs some 700 MB on long 1080p clips.
_MEMORY_PER_CORE = "1G"
_OPTION = re.compile(r"[a-z][a-z0-9-]*(=[^\n\r]*)?")


def command_of(arguments: Sequence[str], without: Sequence[str]) -> list[str]:
    """The command line of this process, such as a job can start it, less the options ``without`` and their values."""
    program = shutil.which(sys.argv[0]) if Path(sys.argv[0]).name == "bemerc" else None
    kept: list[str] = []
    words = iter(arguments)
    for word in words:
        if word in without:
            next(words, None)
        elif word.partition("=")[0] not in without:
            kept.append(word)
    return [*([str(Path(program).absolute())] if program else [sys.executable, "-m", "bemerc"]), *kept]


def job_script(command: Sequence[str], tasks: int, workers: int, options: Sequence[str]) -> str:
    """A script for sbatch that starts ``command`` in an array of ``tasks``.

    workers  cores per task; 0 = 4
    options  options of sbatch as KEY=VALUE, in place of the script's own where they have the same key

    BemercError where an option is none.
    """
    settings: dict[str, str | None] = {
        "job-name": "bemerc",
        "array": f"1-{tasks}",
        "cpus-per-task": str(workers or _CORES),
        "mem-per-cpu": _MEMORY_PER_CORE,
        "chdir": str(Path.cwd()),
        "output": "bemerc-%A_%a.log",
        "signal": f"B:TERM@{_WARNING_S}",
    }
    settings |= _parsed(options)
    lines = [f"#SBATCH --{key}{'' if value is None else f'={_quoted(value)}'}" for key, value in settings.items()]
    return "\n".join(
        (
            "#!/bin/bash",
            "# The same command in several tasks on one store: each takes clips that no other has. Submit it with",
            "# `sbatch SCRIPT`, and again where the time was too short, with any number of tasks: what is finished is kept.",
            *lines,
            f"exec {shlex.join(command)}",
        )
    )


def _parsed(options: Sequence[str]) -> Mapping[str, str | None]:
    parsed: dict[str, str | None] = {}
    for option in options:
        if not _OPTION.fullmatch(option.removeprefix("--")):
            raise BemercError(f"--sbatch {option!r}: write an option of sbatch as KEY=VALUE, such as time=4:00:00.")
        key, equals, value = option.removeprefix("--").partition("=")
        parsed[key] = value if equals else None
    return parsed


def _quoted(value: str) -> str:
    return f'"{value}"' if re.search(r"[\s#]", value) else value
