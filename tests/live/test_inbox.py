"""Of frames that wait the newest alone; everything else in order."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from bemerc.live.inbox import Cue, End, Inbox, Picture, Sound
from bemerc.live.recorded import play
from tests.clips import write_clip
from tests.live.talk import Instant


def picture(number: int) -> Picture:
    return Picture(None, float(number), number)


def test_the_newest_frame_wins_and_what_was_dropped_is_counted() -> None:
    inbox = Inbox()
    for item in (picture(0), Cue("a"), picture(1), Cue("b"), picture(2), End(1.0)):
        inbox.put(item)
    assert [inbox.take() for _ in range(4)] == [Cue("a"), Cue("b"), picture(2), End(1.0)]
    assert inbox.dropped == 2


def test_a_frame_that_may_not_be_dropped_waits_until_there_is_room() -> None:
    inbox = Inbox(every_frame=True)
    putting = threading.Thread(target=lambda: [inbox.put(picture(n)) for n in range(5)])
    putting.start()
    assert [inbox.take() for _ in range(5)] == [picture(n) for n in range(5)]
    putting.join()
    assert inbox.dropped == 0


def test_who_waits_goes_on_when_nobody_takes_any_more() -> None:
    inbox = Inbox(every_frame=True)
    inbox.put(picture(0))
    putting = threading.Thread(target=inbox.put, args=(picture(1),))
    putting.start()
    inbox.close()
    putting.join(10)
    assert not putting.is_alive()


def test_a_file_plays_at_its_own_speed_with_the_sound_before_each_frame(tmp_path) -> None:
    clip, clock, inbox = write_clip(tmp_path / "a.mp4", 0.4), Instant(), Inbox()
    items = []
    inbox.put = lambda item: items.append((clock.now(), item))  # type: ignore[method-assign]
    sound = type("Sound", (), {"waveform": np.zeros(8000, np.float32)})()
    play(clip, sound, inbox, clock)  # type: ignore[arg-type]
    heard = 0
    for now_s, item in items:
        if isinstance(item, Sound):
            heard += len(item.samples)
        elif isinstance(item, Picture):
            assert now_s == item.captured_s == item.frame.timestamp_s
            assert heard == round(16_000 * item.frame.timestamp_s)
    assert heard == 8000
    assert isinstance(items[-1][1], End)
    assert items[-1][1].end_s == 0.5


def sound(start_s: float | None = 0.0, seconds: float = 1.0) -> Sound:
    return Sound(np.zeros(round(16_000 * seconds), np.float32), start_s)


def test_sound_that_comes_too_fast_is_dropped_and_counted() -> None:
    inbox = Inbox()
    for n in range(100):
        inbox.put(sound(float(n)))
    inbox.put(End(100.0))
    taken = [inbox.take() for _ in range(11)]
    assert [one.start_s for one in taken[:10]] == list(range(10))  # type: ignore[union-attr]
    assert (taken[10], inbox.dropped_sound_s) == (End(100.0), 90.0)
    inbox.put(sound(101.0, 60.0))  # alone, however long
    assert inbox.dropped_sound_s == 90.0


@pytest.mark.parametrize("item", [sound(None), Cue("a")])
def test_sound_without_a_clock_and_cues_wait_for_room(item: Sound | Cue) -> None:
    inbox = Inbox()
    putting = threading.Thread(target=lambda: [inbox.put(item) for _ in range(50)])
    putting.start()
    assert all(inbox.take() is item for _ in range(20))
    inbox.close()  # who waits goes on
    putting.join(10)
    assert not putting.is_alive()
    assert inbox.dropped_sound_s < 50
