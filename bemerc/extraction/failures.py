"""Utterances without features: why, what the store keeps of it, and how many a run may have.

A clip's own fault is stored (store.py writes KEY.DECODER.json), so that it is not tried again; a fault of the machine is
never stored.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bemerc.core import atomic
from bemerc.core.errors import CacheError, MachineError, MediaError
from bemerc.core.terminal import printable
from bemerc.extraction.errors import DamagedError

if TYPE_CHECKING:
    from bemerc.extraction.jobs import ExtractorSpec
    from bemerc.extraction.plan import Plan
    from bemerc.extraction.store import Store

_LISTED = 5


@dataclass(frozen=True)
class Failure:
    """Why a clip has no features, by its content. ``absent``: it lacks the track (a silent film), which is no
    damage."""

    reason: str
    absent: bool = False


@dataclass(frozen=True)
class Unmeasured:
    """id -> reason for the utterances without features: the clip's fault, the machine's fault, nothing to measure."""

    failures: dict[str, str]
    retryable: dict[str, str]
    absent: dict[str, str]

    def reasons(self) -> dict[str, str]:
        """All of them."""
        return self.absent | self.failures | self.retryable

    def without(self, ids: Collection[str]) -> Unmeasured:
        """Those of other ids than these."""
        kinds = (self.failures, self.retryable, self.absent)
        return Unmeasured(*({id_: reason for id_, reason in kind.items() if id_ not in ids} for kind in kinds))


def unmeasured(spec: ExtractorSpec, plan: Plan, store: Store, lost: Mapping[str, str]) -> Unmeasured:
    """Those of one modality; ``lost``: store key -> reason, of this run. DamagedError, when all were looked at, where a
    stored failure cannot be read."""
    result = Unmeasured(dict(plan.failures), dict(plan.retryable), dict(plan.absent))
    damaged: DamagedError | None = None
    keys = plan.keys[spec.modality]
    unfinished = store.unfinished(spec.modality, keys.values())
    for id_, key in keys.items() if unfinished else ():
        if key not in unfinished:
            continue
        state = unfinished[key]
        if state is Failure:
            try:
                failure = store.failure(spec.modality, key)
            except DamagedError as error:
                damaged = error
                continue
            (result.absent if failure.absent else result.failures)[id_] = failure.reason
        elif key in lost:
            result.retryable[id_] = lost[key]
        else:
            raise CacheError(
                "a stored result was deleted by another process, such as a run that drops landmarks. Run the "
                "same command again.",
                path=store.folder,
            )
    if damaged is not None:
        raise damaged
    return result


def combined(modalities: Collection[Unmeasured]) -> Unmeasured:
    """All modalities together, every utterance in one group: what can be tried again comes first, absence last."""
    retryable = {id_: reason for one in modalities for id_, reason in one.retryable.items()}
    failures = {id_: reason for one in modalities for id_, reason in one.failures.items() if id_ not in retryable}
    others = retryable.keys() | failures.keys()
    absent = {id_: reason for one in modalities for id_, reason in one.absent.items() if id_ not in others}
    return Unmeasured(failures, retryable, absent)


@dataclass(frozen=True)
class FailureLimit:
    """How many of ``utterances`` may go unmeasured, and the file with the list of those that did."""

    utterances: int
    share: float
    listing: Path

    def check(self, failures: Mapping[str, str], retryable: Mapping[str, str]) -> None:
        """Write the list; raise, with its first few lines, when it is longer than the limit or nothing is left."""
        reasons = {**failures, **retryable}
        with atomic.disk(self.listing):
            if not reasons:
                self.listing.unlink(missing_ok=True)
                return
            lines = [f"{printable(id_)}\t{printable(reason, 2000)}" for id_, reason in sorted(reasons.items())]
            atomic.write_text(self.listing, "\n".join(lines) + "\n")
        everything = len(reasons) >= self.utterances
        if not everything and len(reasons) <= self.share * self.utterances:
            return
        first = "\n".join(f"  {line}" for line in lines[:_LISTED]).replace("\t", ": ")
        more = f"\n  ... and {len(lines) - _LISTED} more" if len(lines) > _LISTED else ""
        allowed = "" if everything else f", and max_failed_share allows {self.share:.0%}"
        advice = ["fix the clips"] if failures else []
        advice += ["fix what the machine lacks"] if retryable else []
        advice += [] if everything else ["raise the limit"]
        raise (MediaError if failures else MachineError)(
            f"{len(reasons)} of {self.utterances} utterances could not be measured{allowed}:\n{first}{more}\nAll of them "
            f"are listed in {self.listing}. What was measured is kept; {' or '.join(advice)}, and run the same command "
            "again."
        )
