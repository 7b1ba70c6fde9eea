"""One script per DVC stage. They run from the project's folder: ``python -m pipeline.tokens``."""

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path

from bemerc.core.errors import BemercError

PARAMS = Path("params.yaml")
DATA = Path("data")
MODELS = Path("models")
RESULTS = Path("results")
MANIFEST = DATA / "manifest.jsonl"
CACHE = DATA / "cache"
STORE = DATA / "store"
TOKENS = DATA / "tokens.h5"
DESCRIPTIONS = DATA / "descriptions.jsonl"
TEACHER = DATA / "teacher.jsonl"
STUDENT = DATA / "student.jsonl"
REFERENCES = DATA / "references.json"
PREDICTIONS = RESULTS / "predictions"


def stage(script: Callable[[], None]) -> Callable[[], None]:
    """What a user can cause ends a stage with its sentence and exit code 1, Ctrl-C with 130; only our own faults show a trace."""

    @functools.wraps(script)
    def guarded() -> None:
        try:
            script()
        except BemercError as error:
            sys.exit(f"{error}")
        except KeyboardInterrupt:
            print("Interrupted. What was finished is kept; the same command goes on from there.", file=sys.stderr)
            sys.exit(130)

    return guarded


def cores() -> int:
    """Worker processes for a stage: BEMERC_WORKERS, or one per core that this process may use. No parameter: it changes no byte."""
    wished = os.environ.get("BEMERC_WORKERS", "")
    if wished and not wished.isdigit():
        raise BemercError(f"BEMERC_WORKERS must be a whole number, not '{wished}'.")
    if wished and int(wished) > 0:
        return int(wished)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def retry_failed() -> bool:
    """Whether what is known to fail is tried again: BEMERC_RETRY_FAILED=1. No parameter: it is a wish for one run."""
    return os.environ.get("BEMERC_RETRY_FAILED", "") not in ("", "0")


def board(name: str) -> Path | None:
    """Where TensorBoard's events of one training go: BEMERC_TENSORBOARD/name, if that is set. No parameter: it changes no byte."""
    wished = os.environ.get("BEMERC_TENSORBOARD", "")
    return Path(wished) / name if wished else None
