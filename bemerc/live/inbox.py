"""Between who records and who measures: everything in order, but of frames that wait the newest alone, and of sound and
cues no more than some seconds: where measuring is too slow, what comes is dropped and counted, and memory does not grow.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bemerc.media.pitch import SAMPLE_RATE_HZ

MOST_SOUND_S = 10.0
_MOST_CUES = 16


@dataclass(frozen=True)
class Picture:
    """A frame (media.video.Frame, or what is like one), when it was recorded by the clock that latencies are measured
    with, and its number among all frames."""

    frame: Any
    captured_s: float
    number: int


@dataclass(frozen=True)
class Sound:
    """(N,) float32 mono at 16 kHz; ``start_s`` where the clock says that it begins, None where it follows the sound
    before it for sure, and so must not be dropped."""

    samples: NDArray[np.float32]
    start_s: float | None = None


@dataclass(frozen=True)
class Cue:
    """Somebody says that an utterance has ended; ``text`` is what was said, as far as that is known."""

    text: str = ""


@dataclass(frozen=True)
class PictureEnd:
    """No further frame comes; the picture ended at ``end_s``, maybe before the sound."""

    end_s: float


@dataclass(frozen=True)
class End:
    """Nothing more comes: it ended at ``end_s``. ``error``: why, where something failed."""

    end_s: float
    error: BaseException | None = None


Item = Picture | Sound | Cue | PictureEnd | End


class Inbox:
    """``put`` by one thread, ``take`` by another. A frame that nobody has taken when the next one comes is dropped, or
    with ``every_frame`` the next one waits. Sound beyond MOST_SOUND_S is dropped if a clock says where the next piece
    begins; else it waits for room, and so do cues.

    dropped          how many frames were
    dropped_sound_s  how much sound was
    """

    def __init__(self, every_frame: bool = False) -> None:
        self.dropped, self.dropped_sound_s = 0, 0.0
        self.closed = False
        self._every_frame = every_frame
        self._waiting_sound_s, self._waiting_cues = 0.0, 0
        self._items: deque[Item] = deque()
        self._changed = threading.Condition()

    def put(self, item: Item) -> None:
        """Add what was recorded next."""
        with self._changed:
            if isinstance(item, Picture):
                self._make_room()
            elif isinstance(item, Sound) and not self._has_room(item):
                self.dropped_sound_s += _seconds(item)
                return
            elif isinstance(item, Cue):
                self._changed.wait_for(lambda: self.closed or self._waiting_cues < _MOST_CUES)
            self._items.append(item)
            self._count(item, 1)
            self._changed.notify_all()

    def take(self) -> Item:
        """What came first, when there is something."""
        with self._changed:
            self._changed.wait_for(lambda: self._items)
            item = self._items.popleft()
            self._count(item, -1)
            self._changed.notify_all()
            return item

    def close(self) -> None:
        """Nobody takes any more: who waits to put something goes on, and ``closed`` tells who records."""
        with self._changed:
            self.closed = True
            self._changed.notify_all()

    def _has_room(self, sound: Sound) -> bool:
        """Whether so much more sound may wait, at once or after a while; a piece that comes alone always may."""

        def there_is() -> bool:
            return not self._waiting_sound_s or self._waiting_sound_s + _seconds(sound) <= MOST_SOUND_S

        if sound.start_s is None:
            self._changed.wait_for(lambda: self.closed or there_is())
        return there_is()

    def _count(self, item: Item, sign: int) -> None:
        if isinstance(item, Sound):
            waiting_s = self._waiting_sound_s + sign * _seconds(item)
            self._waiting_sound_s = waiting_s if waiting_s > 1e-6 else 0.0
        elif isinstance(item, Cue):
            self._waiting_cues += sign

    def _make_room(self) -> None:
        if self._every_frame:
            self._changed.wait_for(lambda: self.closed or self._waiting() is None)
        elif (waiting := self._waiting()) is not None:
            self._items.remove(waiting)
            self.dropped += 1

    def _waiting(self) -> Picture | None:
        return next((item for item in self._items if isinstance(item, Picture)), None)


def _seconds(sound: Sound) -> float:
    return len(sound.samples) / SAMPLE_RATE_HZ
