"""Faults of a clip and faults of the machine: what each costs, and that they are told apart."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import zlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from bemerc.cache import open_cache
from bemerc.core.errors import MachineError, MediaError
from bemerc.extraction.fingerprint import Segment
from bemerc.extraction.jobs import Job, extractor_spec
from bemerc.extraction.run import run
from bemerc.media.audio import read_sound
from bemerc.media.container import MAX_PIXELS, ClipAccessError, DecoderError
from bemerc.media.video import Video, probe
from tests import loudness, mean_color
from tests.clips import FPS, write_clip

NEVER_READS = Path("/sys/class/net/lo/speed")  # a file with a size that no read call gets a byte of


def pictures(path: Path) -> list[np.ndarray]:
    with Video(path) as video:
        return [frame.rgb() for frame in video]


def times(path: Path) -> tuple[list[float], list[str]]:
    with Video(path) as video:
        return [frame.timestamp_s for frame in video], video.faults


def spoil(path: Path, kind: str, first: int, count: int = 1) -> Path:
    """Overwrite some packets of the first track of a kind with noise."""
    data, rng = bytearray(path.read_bytes()), np.random.default_rng(0)
    with av.open(str(path)) as container:
        for number, packet in enumerate(container.demux(getattr(container.streams, kind)[0])):
            if first <= number < first + count:
                assert packet.pos is not None
                data[packet.pos : packet.pos + packet.size] = rng.bytes(packet.size)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(("first", "least"), [(1, 48), (12, 48), (33, 48), (49, 48), (0, 40), (30, 40)])
def test_a_packet_that_cannot_be_decoded_costs_its_picture(tmp_path: Path, first: int, least: int) -> None:
    """Or a group of ten, if it is the key frame that the others are made from."""
    path = spoil(write_clip(tmp_path / "a.mp4", 2.0), "video", first)
    stamps, faults = times(path)
    assert least <= len(stamps) <= 50
    grid = np.array(stamps) * FPS
    np.testing.assert_allclose(grid, np.round(grid), atol=1e-6)
    assert faults or len(stamps) == 50


def test_a_packet_that_cannot_be_decoded_costs_its_sound(tmp_path: Path) -> None:
    path = spoil(write_clip(tmp_path / "a.mp4", 2.0), "audio", 40)
    sound = read_sound(path)
    assert abs(sound.waveform.size / 16_000 - 2.0) < 0.1
    assert np.abs(sound.waveform[24_000:31_000]).max() > 0.4  # the tone goes on behind the damage
    assert sound.faults


def test_most_packets_may_be_damaged(tmp_path: Path) -> None:
    path = spoil(write_clip(tmp_path / "a.mp4", 8.0), "video", 10, 180)
    stamps, faults = times(path)
    assert len(stamps) >= 20
    assert stamps[-1] == pytest.approx(7.96)
    assert faults


def test_a_title_in_an_older_encoding_costs_nothing(tmp_path: Path) -> None:
    """Old programs wrote tags in Latin-1; some releases of PyAV refuse whatever is not UTF-8."""
    clip, titled = write_clip(tmp_path / "a.mp4"), tmp_path / "b.mp4"
    with av.open(str(clip)) as read, av.open(str(titled), "w") as written:
        written.metadata["title"] = "Mueller"
        copies = {track.index: written.add_stream_from_template(track) for track in read.streams}
        for packet in read.demux():
            if packet.dts is not None:
                packet.stream = copies[packet.stream_index]
                written.mux(packet)
    assert titled.read_bytes().count(b"Mueller") == 1
    titled.write_bytes(titled.read_bytes().replace(b"Mueller", "Müller ".encode("latin-1")))
    assert times(titled) == times(clip)


def test_an_empty_packet_is_no_end(tmp_path: Path) -> None:
    """Theora and others write one where the picture stays as it is."""
    source = write_clip(tmp_path / "a.mp4", 1.0)
    with av.open(str(source)) as read, av.open(str(tmp_path / "b.mkv"), "w") as written:
        stream = written.add_stream_from_template(read.streams.video[0])
        for number, packet in enumerate(read.demux(read.streams.video[0])):
            if packet.dts is None:
                continue
            kept = packet
            if number == 24:
                kept = av.Packet(b"")
                kept.pts, kept.dts, kept.time_base = packet.pts, packet.dts, packet.time_base
            kept.stream = stream
            written.mux(kept)
    stamps, _ = times(tmp_path / "b.mkv")
    assert len(stamps) >= 24


def test_too_many_open_files_is_no_verdict_on_the_clip(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    probe(path)
    lowest = os.open(path, os.O_RDONLY)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        for read in (pictures, read_sound, probe):
            with pytest.raises(ClipAccessError) as caught:
                read(path)
            assert caught.value.errno == errno.EMFILE
            assert not isinstance(caught.value, MediaError)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert len(pictures(path)) == 20


def test_a_clip_that_is_not_there_is_no_verdict_on_its_content(tmp_path: Path) -> None:
    for read in (pictures, read_sound, probe):
        with pytest.raises(ClipAccessError) as caught:
            read(tmp_path / "missing.mp4")
        assert caught.value.errno == errno.ENOENT
        assert "missing" not in str(caught.value)


@pytest.mark.skipif(not NEVER_READS.exists(), reason="this system has no such file")
def test_a_disk_that_fails_is_no_verdict_on_the_clip() -> None:
    with pytest.raises(ClipAccessError) as caught:
        probe(NEVER_READS)
    assert caught.value.errno == errno.EINVAL


@pytest.mark.skipif(not NEVER_READS.exists(), reason="this system has no such file")
def test_a_disk_that_fails_in_the_middle_is_no_end_of_the_clip(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", 4.0, size=(320, 240), faststart=True)
    with Video(path) as video:
        frames = iter(video)
        next(frames)
        own = [link for link in Path("/proc/self/fd").iterdir() if link.exists() and link.samefile(path)]
        broken = os.open(NEVER_READS, os.O_RDONLY)
        for link in own:  # from here on the same descriptor reads from a file that fails
            os.dup2(broken, int(link.name))
        os.close(broken)
        with pytest.raises(ClipAccessError):
            list(frames)


def test_a_missing_decoder_is_no_verdict_on_the_clip(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4")
    data = path.read_bytes().replace(b"avc1", b"zzzz")
    path.write_bytes(data)
    with pytest.raises(DecoderError) as caught:
        pictures(path)
    assert caught.value.track == "picture"
    assert isinstance(caught.value, MachineError)


@pytest.mark.parametrize(
    "text",
    [
        "ffconcat version 1.0\nfile secret.mp4\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nsecret.mp4\n#EXT-X-ENDLIST\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period><AdaptationSet><Representation>'
        "<BaseURL>secret.mp4</BaseURL></Representation></AdaptationSet></Period></MPD>",
    ],
)
def test_a_list_of_files_opens_none_of_them(tmp_path: Path, text: str) -> None:
    write_clip(tmp_path / "secret.mp4")
    for name in ("a.mp4", "a.m3u8", "a.sdp", "a.mpd", "a.ffconcat"):
        (tmp_path / name).write_text(text)
        with pytest.raises(MediaError):
            pictures(tmp_path / name)


def test_a_name_with_a_pattern_is_a_name(tmp_path: Path) -> None:
    for number in range(3):
        av.VideoFrame.from_ndarray(np.full((48, 64, 3), 80 * number, np.uint8), format="rgb24").save(
            str(tmp_path / f"a{number}.png")
        )
    with pytest.raises(ClipAccessError):
        pictures(tmp_path / "a%d.png")
    shutil.copy(tmp_path / "a1.png", tmp_path / "a%d.png")
    assert [picture.mean() for picture in pictures(tmp_path / "a%d.png")] == [80]


def test_a_picture_beyond_all_measure_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    side = 16_000
    assert side * side > MAX_PIXELS
    av.VideoFrame.from_ndarray(np.zeros((4, 4, 3), np.uint8), format="rgb24").save(str(tmp_path / "a.png"))
    data = bytearray((tmp_path / "a.png").read_bytes())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    data[16:24] = side.to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(MediaError):
        pictures(tmp_path / "a.png")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kB


@pytest.mark.parametrize(("step_s", "count", "most"), [(1e-6, 1500, 3), (1e-4, 400, 41), (1e-3, 100, 100)])
def test_no_more_than_a_thousand_frames_a_second(tmp_path: Path, step_s: float, count: int, most: int) -> None:
    path, base = tmp_path / "a.mp4", Fraction(1, 1_000_000)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt, stream.codec_context.time_base = 64, 48, "yuv420p", base
        stream.time_base = base
        picture = av.VideoFrame(64, 48, "yuv420p")
        for number in range(count):
            picture.pts, picture.time_base = round(number * step_s / base), base
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    stamps, faults = times(path)
    assert 1 <= len(stamps) <= most
    assert np.diff(stamps).min(initial=1.0) >= 1e-3 - 2e-6
    assert bool(faults) == (len(stamps) < count)


def test_an_utterance_has_the_notes_of_its_own_part(tmp_path: Path) -> None:
    path = spoil(spoil(write_clip(tmp_path / "a.mp4", 4.0), "video", 33), "audio", 100)
    parts = {
        "before": Segment(0.0, 1.2),
        "seen": Segment(1.2, 1.6),
        "heard": Segment(1.9, 2.4),
        "after": Segment(2.5, None),
    }
    jobs = [Job(name, path, part) for name, part in parts.items()]
    for manifest in (
        extractor_spec("face", "tests.mean_color", mean_color.Params()),
        extractor_spec("audio", "tests.loudness", loudness.Params()),
    ):
        run(jobs, (manifest,), tmp_path / "out", tmp_path / "store", 1)
    for modality, damaged in (("face", "seen"), ("audio", "heard")):
        with open_cache(tmp_path / "out" / f"{modality}.h5", modality) as cache:
            assert set(cache) == set(parts)
            assert set(cache.notes) == {damaged}
