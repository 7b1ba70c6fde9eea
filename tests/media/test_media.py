"""Reading clips: times, pixels, sound, and sentences for what cannot be read."""

from __future__ import annotations

import gc
import os
import shutil
from pathlib import Path

import av
import numpy as np
import pytest

from bemerc.core.errors import MediaError
from bemerc.media.audio import read_sound
from bemerc.media.container import NoTrackError
from bemerc.media.video import Converters, CroppedFrame, Frame, RelativeBox, Video, probe
from tests.clips import FPS, brightness, turn, write_clip

REAL = Path(__file__).resolve().parents[3] / "shared" / "clips"


def times(path: Path) -> list[float]:
    with Video(path) as video:
        return [frame.timestamp_s for frame in video]


def pictures(path: Path) -> list[np.ndarray]:
    with Video(path) as video:
        return [frame.rgb() for frame in video]


def test_frames_are_the_ones_that_were_written(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "ü clip: with a colon.mp4")
    decoded = pictures(path)
    assert len(decoded) == 20
    for i, picture in enumerate(decoded):
        assert picture.shape == (48, 64, 3)
        assert picture.dtype == np.uint8
        assert picture.flags.c_contiguous
        assert abs(picture[:, 4:28].mean() - brightness(i)) < 4
        assert np.abs(picture[:, 36:60].reshape(-1, 3).mean(0) - (200, 40, 40)).max() < 8
    np.testing.assert_allclose(times(path), np.arange(20) / FPS, atol=1e-9)


def test_a_frame_that_was_seen_is_gone(tmp_path: Path) -> None:
    """A frame of 1080p has 3 MB: some hundred that wait for the garbage collector took a worker 800 MB."""
    path, kept = write_clip(tmp_path / "a.mp4", 2.0), []
    gc.collect()
    gc.disable()
    try:
        with Video(path) as video:
            for number, frame in enumerate(video):
                assert frame.rgb().size
                if number % 12 == 11:  # to look through all objects takes a while
                    kept.append(sum(type(one) is av.VideoFrame for one in gc.get_objects()))
    finally:
        gc.enable()
    assert len(kept) == 4
    assert max(kept) <= 4


def test_a_variable_frame_rate_keeps_its_times(tmp_path: Path) -> None:
    written = [0.0, 0.04, 0.05, 0.3, 0.31, 0.9]
    path = write_clip(tmp_path / "a.mp4", 1.0, times_s=written)
    np.testing.assert_allclose(times(path), written, atol=1e-3)


def test_rotated_video_stands_upright(tmp_path: Path) -> None:
    path = turn(write_clip(tmp_path / "a.mp4", size=(64, 48)))
    assert (probe(path).width, probe(path).height) == (48, 64)
    picture = pictures(path)[0]
    assert picture.shape == (64, 48, 3)
    # A quarter turn clockwise brings the left half, which is light in the first frame, to the top.
    assert picture[4:28].mean() > 230
    assert picture[36:60].mean() < 120


def noise(kind: str, size: tuple[int, int], color_range: int = 1, colorspace: int = 5) -> Frame:
    frame = av.VideoFrame(*size, kind)
    frame.color_range, frame.colorspace = color_range, colorspace
    rng = np.random.default_rng(size)
    for plane in frame.planes:
        np.frombuffer(plane, np.uint8)[:] = rng.integers(0, 256, plane.buffer_size, dtype=np.uint8)
    return Frame(frame, 0.0, Converters())


@pytest.mark.parametrize("size", [(640, 360), (854, 480), (1366, 768), (98, 50), (34, 34)])
@pytest.mark.parametrize("kind", ["yuv420p", "yuvj420p"])
@pytest.mark.parametrize(("color_range", "colorspace"), [(1, 1), (2, 5), (0, 9)])
def test_a_part_converted_alone_is_the_same_pixels(
    kind: str, size: tuple[int, int], color_range: int, colorspace: int
) -> None:
    rng = np.random.default_rng(0)
    width, height = size
    whole = noise(kind, size, color_range, colorspace).rgb()
    for _ in range(8):
        left, top = 32 * int(rng.integers(0, width // 32)), 2 * int(rng.integers(0, height // 2))
        right = min(width, left + 32 * int(rng.integers(1, 12)))
        bottom = min(height, top + 2 * int(rng.integers(1, 200)))
        frame = noise(kind, size, color_range, colorspace)
        part = frame.part((left, top, right, bottom))
        assert part is not None, "this kind can be cut"
        np.testing.assert_array_equal(part, whole[top:bottom, left:right])
        rows, columns = rng.integers(0, height, 5), rng.integers(0, width, 7)
        picked = frame.pixels(rows, columns)
        assert picked is not None
        np.testing.assert_array_equal(picked, whole[rows[:, None], columns])


@pytest.mark.parametrize(
    ("kind", "size", "crop"),
    [
        ("yuv444p", (320, 180), None),
        ("yuv422p", (320, 180), None),
        ("yuv420p10le", (320, 180), None),
        ("rgb24", (320, 180), None),
        ("gray", (320, 180), None),
        ("yuv420p", (321, 181), None),
        ("yuv420p", (320, 180), (0.25, 0.1, 0.75, 0.9)),
        ("yuv420p", (320, 180), (0.1, 0.02, 0.6, 1.0)),
        ("yuv420p", (320, 180), (0.2, 0.0, 1.0, 0.5)),
    ],
)
def test_a_picture_is_the_same_asked_for_in_parts_or_whole(
    kind: str, size: tuple[int, int], crop: RelativeBox | None
) -> None:
    whole = noise(kind, size).rgb(crop)
    for converted in (False, True):
        picture = CroppedFrame(noise(kind, size), crop)
        assert picture.size == (whole.shape[1], whole.shape[0])
        if converted:
            picture.rgb()
        np.testing.assert_array_equal(picture.part((32, 4, 128, 60)), whole[4:60, 32:128])
        rows, columns = np.array([0, 7, 80]), np.array([1, 2, 90, 150])
        np.testing.assert_array_equal(picture.pixels(rows, columns), whole[rows[:, None], columns])
        np.testing.assert_array_equal(picture.rgb(), whole)


def test_an_interlaced_picture_is_the_same_asked_for_in_parts(tmp_path: Path) -> None:
    path, rng = tmp_path / "a.mp4", np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"x264-params": "interlaced=1:tff=1"})
        stream.width, stream.height, stream.pix_fmt = 320, 192, "yuv420p"
        for _ in range(2):
            blocks = rng.integers(0, 255, (24, 40, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(blocks, format="rgb24")))
        container.mux(stream.encode(None))
    rows, columns = np.arange(0, 192, 7), np.arange(0, 320, 11)
    with Video(path) as video:
        for frame in video:
            picture, other = CroppedFrame(frame), CroppedFrame(frame)
            part, picked = picture.part((32, 6, 160, 100)), other.pixels(rows, columns)
            np.testing.assert_array_equal(part, frame.rgb()[6:100, 32:160])
            np.testing.assert_array_equal(picked, frame.rgb()[rows[:, None], columns])


def test_a_rotated_picture_is_the_same_asked_for_in_parts(tmp_path: Path) -> None:
    with Video(turn(write_clip(tmp_path / "a.mp4", size=(128, 96)))) as video:
        for frame in video:
            picture = CroppedFrame(frame)
            assert picture.size == (96, 128)
            part = picture.part((32, 2, 64, 100))
            np.testing.assert_array_equal(part, frame.rgb()[2:100, 32:64])


@pytest.mark.parametrize("size", [(63, 47), (65, 33), (17, 101)])
def test_odd_sizes(tmp_path: Path, size: tuple[int, int]) -> None:
    picture = pictures(write_clip(tmp_path / "a.mp4", size=size))[0]
    assert picture.shape == (size[1], size[0], 3)
    assert picture.flags.c_contiguous


def test_crop_and_scale(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", size=(128, 96))
    with Video(path) as video:
        frame = next(iter(video))
        right = frame.rgb((0.5, 0.0, 1.0, 1.0))
        assert right.shape == (96, 64, 3)
        assert right.flags.c_contiguous
        assert np.abs(right[:, 4:].reshape(-1, 3).mean(0) - (200, 40, 40)).max() < 8
        assert frame.rgb(longest_side=64).shape == (48, 64, 3)
        assert frame.rgb((0.5, 0.0, 1.0, 1.0), 48).shape == (48, 32, 3)
        assert frame.rgb(longest_side=500).shape == (96, 128, 3)
        with pytest.raises(MediaError, match="leaves nothing"):
            frame.rgb((0.5, 0.0, 0.5, 1.0))


def test_pixels_are_converted_once_and_only_when_asked_for(tmp_path: Path) -> None:
    with Video(write_clip(tmp_path / "a.mp4")) as video:
        frames = list(video)
        assert all(frame._rgb is None for frame in frames)
        assert frames[3].rgb() is frames[3].rgb()


@pytest.mark.parametrize(("rate_hz", "channels", "suffix"), [(8000, 1, "wav"), (48_000, 2, "mp4"), (44_100, 1, "mp4")])
def test_sound_is_mono_at_16_khz_whatever_it_was(tmp_path: Path, rate_hz: int, channels: int, suffix: str) -> None:
    path = write_clip(tmp_path / f"a.{suffix}", 1.5, picture=suffix == "mp4", rate_hz=rate_hz, channels=channels)
    wave = read_sound(path).waveform
    assert wave.dtype == np.float32
    assert abs(wave.size - 24_000) < 500
    peak = np.argmax(np.abs(np.fft.rfft(wave[4000:20_000]))) / 16_000 * 16_000
    assert abs(peak - 440) <= 1
    assert 0.45 < np.abs(wave[4000:20_000]).max() < 0.55
    np.testing.assert_array_equal(read_sound(path, 0.75).cut(0.25, 0.75), wave[4000:12_000])


def test_the_header_tells_length_rate_and_tracks(tmp_path: Path) -> None:
    both = probe(write_clip(tmp_path / "both.mp4", 1.2))
    assert abs(both.duration_s - 1.2) < 0.03
    assert both.fps == pytest.approx(FPS)
    assert (both.has_video, both.has_audio, both.width, both.height) == (True, True, 64, 48)
    mute = probe(write_clip(tmp_path / "mute.mp4", tone_hz=None))
    assert (mute.has_video, mute.has_audio) == (True, False)
    sound = probe(write_clip(tmp_path / "sound.wav", picture=False))
    assert (sound.has_video, sound.has_audio) == (False, True)


def test_what_is_no_clip_gives_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("these are words, not pictures\n" * 50)
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "folder.mp4").mkdir()
    cases = [("empty.mp4", "empty"), ("text.mp4", "cannot be opened")]
    for name, words in [*cases, ("pipe.mp4", "not a regular file"), ("folder.mp4", "not a regular file")]:
        for read in (pictures, read_sound, probe):
            with pytest.raises(MediaError, match=words) as caught:
                read(tmp_path / name)
            assert name not in str(caught.value)  # the same content may lie under several names


def test_a_missing_track_is_no_damage(tmp_path: Path) -> None:
    with pytest.raises(NoTrackError, match="no sound track"):
        read_sound(write_clip(tmp_path / "mute.mp4", tone_hz=None))
    with pytest.raises(NoTrackError, match="no video track"):
        Video(write_clip(tmp_path / "sound.wav", picture=False))


def test_a_truncated_clip_gives_what_there_is_and_says_so(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", 4.0, size=(320, 240), faststart=True)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with Video(path) as video:
        assert video.duration_s == pytest.approx(4.0, abs=0.05)
        decoded = sum(1 for _ in video)
    assert 5 < decoded < 90
    assert "ends at" in video.faults[-1]
    assert video.duration_s == pytest.approx(decoded / FPS, abs=0.2)
    assert read_sound(path).faults


def test_a_truncated_clip_without_its_index_is_a_failure(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", 2.0)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(MediaError, match="cannot be opened"):
        pictures(path)


def test_a_playlist_in_disguise_opens_nothing_else(tmp_path: Path) -> None:
    write_clip(tmp_path / "secret.mp4")
    (tmp_path / "list.mp4").write_text("ffconcat version 1.0\nfile 'http://localhost:9/a.mp4'\n")
    with pytest.raises(MediaError):
        pictures(tmp_path / "list.mp4")


def test_ffmpeg_says_nothing_of_its_own(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = write_clip(tmp_path / "a.mp4", 2.0, size=(320, 240), faststart=True)
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 2000] = bytes(2000)
    path.write_bytes(data)
    pictures(path)
    assert capfd.readouterr() == ("", "")


def test_the_same_clip_gives_the_same_pixels_through_a_link(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4")
    (tmp_path / "link.mp4").symlink_to(path)
    for one, other in zip(pictures(path), pictures(tmp_path / "link.mp4"), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.skipif(not REAL.exists(), reason="the shared clips are not here")
def test_real_clips_keep_one_clock_for_picture_and_sound(tmp_path: Path) -> None:
    path = REAL / "face_noface.mov"  # its sound begins 2.43 s after its picture
    shutil.copy(path, tmp_path / "a.mov")
    sound = read_sound(tmp_path / "a.mov")
    first = np.argmax(np.abs(sound.waveform) > 0) / 16_000
    assert first == pytest.approx(2.43, abs=0.02)
    stamps = times(tmp_path / "a.mov")
    assert len(stamps) == 169
    assert len(set(np.round(np.diff(stamps), 4))) > 3
    assert stamps[-1] < sound.duration_s < stamps[-1] + 0.1
