"""A table of small clips as cameras, phones, browsers and recorders make them: containers, codecs, and what they say of
time and shape. The traits are those that FFmpeg's own test suite lists (edit lists, B-frames, fragments, display matrices,
sizes that change, timestamps that wrap ...).

Every clip shows the same: a picture of 96 x 72 square pixels with a colour in each corner and a disc in the middle, 30 frames at 25
per second, bright from .48 to .64 s while a tone sounds. Where ffmpeg is missing some of them are made by PyAV, and what ffprobe
lists for these stands in clip_times.json; "python -m tests.clip_table" writes it.
"""

from __future__ import annotations

import json
import struct
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from tests.clips import ffmpeg

SIZE = (96, 72)
FPS, FRAMES = 25, 30
FLASH = range(12, 16)
RATE_HZ = 48_000
CORNERS = {
    "left top": (200, 30, 30),
    "right top": (30, 170, 30),
    "left bottom": (30, 30, 200),
    "right bottom": (190, 190, 30),
}
_CORNER_PX = 20
_RADIUS_PX = 22

X264 = "-c:v libx264 -preset ultrafast -crf 16 -g 10 -pix_fmt yuv420p"
B3 = f"{X264} -bf 3 -b_strategy 0"
X265 = "-c:v libx265 -preset ultrafast -crf 16 -pix_fmt yuv420p -x265-params log-level=none:pools=1:frame-threads=1"
MPEG2 = "-c:v mpeg2video -q:v 2 -g 12"
Change = Callable[[Path], None]


@dataclass(frozen=True)
class Clip:
    """One row of the table.

    name     the file
    options  ffmpeg's, between the inputs (0: picture, 1: sound) and the file; "" where ``made`` makes it
    made     what is done to the file afterwards, or what makes it out of the others
    sound    whether it has sound
    shown    width and height of the first frame with square pixels, and allowed pixels of difference
    lost     how many of the frames that ffprobe lists may be missing, since they are damaged
    joins    its times begin again, which ffprobe lists as they stand
    apart_s  the picture comes so much after the sound: AVI and a few others do not say how long a decoder holds back frames that
             others are made from, and on ffprobe's clock that time passes
    """

    name: str
    options: str = ""
    made: Change | None = None
    sound: bool = True
    shown: tuple[int, int] = SIZE
    lost: int = 0
    joins: bool = False
    apart_s: float = 0.0


def picture(bright: bool, size: tuple[int, int] = SIZE) -> NDArray[np.uint8]:
    """(H, W, 3) uint8."""
    width, height = size
    found = np.full((height, width, 3), 230 if bright else 90, np.uint8)
    for place, colour in CORNERS.items():
        rows = slice(0, _CORNER_PX) if "top" in place else slice(height - _CORNER_PX, height)
        columns = slice(0, _CORNER_PX) if "left" in place else slice(width - _CORNER_PX, width)
        found[rows, columns] = colour
    y, x = np.mgrid[:height, :width] + 0.5
    found[(x - width / 2) ** 2 + (y - height / 2) ** 2 < _RADIUS_PX**2] = 255 if bright else 10
    return found


def sound() -> NDArray[np.int16]:
    """(N,) int16 at 48 kHz: a tone while the picture is bright, and next to nothing before and after."""
    times_s = np.arange(FRAMES * RATE_HZ // FPS) / RATE_HZ
    on = (times_s >= FLASH[0] / FPS) & (times_s < FLASH[-1] / FPS + 1 / FPS)
    return np.asarray(np.sin(2 * np.pi * 1000 * times_s) * np.where(on, 16_000, 3), np.int16)


# ------------------------------------------------------------------------------------------------------------ changes


def matrix(a: int, b: int, c: int, d: int) -> Change:
    """Write a display matrix into the picture track's header of an mp4, as phones do."""

    def change(path: Path) -> None:
        raw, at = bytearray(path.read_bytes()), -1
        while (at := raw.find(b"tkhd", at + 1)) >= 0:
            place = at + 8 + (32 if raw[at + 4] else 20) + 16
            if struct.unpack(">I", raw[place + 36 : place + 40])[0]:
                raw[place : place + 36] = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
                path.write_bytes(raw)
                return
        raise AssertionError(f"{path}: no picture track")

    return change


def spoiled(first: int) -> Change:
    """Overwrite a packet of the picture with noise."""

    def change(path: Path) -> None:
        listed = _probe(path, "-select_streams", "v:0", "-show_entries", "packet=pos,size")["packets"][first]
        raw, size = bytearray(path.read_bytes()), int(listed["size"]) - 16
        at = int(listed["pos"]) + 16  # in Matroska a head of the packet stands before it
        raw[at : at + size] = np.random.default_rng(0).bytes(size)
        path.write_bytes(raw)

    return change


def joined(*names: str) -> Change:
    """The bytes of other clips, one after the other, as ``cat`` joins them."""

    def change(path: Path) -> None:
        path.write_bytes(b"".join((path.parent / name).read_bytes() for name in names))

    return change


def copied(*arguments: str) -> Change:
    """Made by ffmpeg from other clips of the table."""

    def change(path: Path) -> None:
        ffmpeg("-threads", "1", *arguments, path.name, folder=path.parent)

    return change


def listed(*names: str) -> Change:
    """Other clips, one after the other, by ffmpeg's concat."""

    def change(path: Path) -> None:
        text = path.with_suffix(".txt")
        text.write_text("".join(f"file {name}\n" for name in names))
        ffmpeg("-threads", "1", "-f", "concat", "-i", text.name, "-c", "copy", path.name, folder=path.parent)

    return change


def beheaded(name: str, share: float) -> Change:
    """Another clip without its beginning, as one who tunes in gets it."""

    def change(path: Path) -> None:
        raw = (path.parent / name).read_bytes()
        path.write_bytes(raw[round(len(raw) * share) // 188 * 188 :])

    return change


# -------------------------------------------------------------------------------------------------------------- table


def _ways() -> list[Clip]:
    """All eight ways to lay a picture: how it is stored, and the matrix that sets it upright."""
    tall = "transpose=dir=clock"
    ways = {
        "mirrored": ("hflip", (-1, 0, 0, 1)),
        "flipped": ("vflip", (1, 0, 0, -1)),
        "turned_180": ("hflip,vflip", (-1, 0, 0, -1)),
        "turned_90": ("transpose=dir=cclock", (0, 1, -1, 0)),
        "turned_270": (tall, (0, -1, 1, 0)),
        "transposed": ("transpose=dir=cclock_flip", (0, 1, 1, 0)),
        "transversed": ("transpose=dir=clock_flip", (0, -1, -1, 0)),
        "upright": ("null", (1, 0, 0, 1)),
    }
    return [
        Clip(f"{way}.mp4", f"{X264} -c:a aac -vf {stored}", matrix(*applied)) for way, (stored, applied) in ways.items()
    ]


TABLE: tuple[Clip, ...] = (
    # H.264 and what it is put into
    Clip("h264.mp4", f"{X264} -c:a aac"),
    Clip("h264_b.mp4", f"{B3} -c:a aac"),
    Clip("h264_b.mov", f"{B3} -c:a pcm_s16le"),
    Clip("h264_b.mkv", f"{B3} -c:a libvorbis"),
    Clip("h264_b.avi", f"{B3} -c:a libmp3lame", apart_s=0.06),
    Clip("h264_b.wmv", f"{B3} -c:a libmp3lame -f asf"),
    Clip("h264_b.ts", f"{B3} -c:a aac"),
    Clip("h264.m2ts", f"{B3} -c:a ac3 -mpegts_m2ts_mode 1"),
    Clip("h264_b.flv", f"{B3} -c:a aac -ar 44100"),
    Clip("h264.3gp", f"{X264} -c:a aac"),
    Clip("h264.f4v", f"{B3} -c:a aac"),
    Clip("h264_b.nut", f"{B3} -c:a libmp3lame"),
    Clip("h264.mxf", "-c:v mpeg2video -q:v 2 -g 1 -c:a pcm_s16le"),
    Clip("fragments.mp4", f"{B3} -c:a aac -movflags frag_keyframe+empty_moov+default_base_moof", apart_s=0.06),
    Clip("faststart.mp4", f"{B3} -c:a aac -movflags faststart"),
    Clip("no_edit_list.mp4", f"{B3} -c:a aac -use_editlist 0", apart_s=0.06),
    Clip("negative_offsets.mp4", f"{B3} -c:a aac -movflags negative_cts_offsets"),
    Clip("many_b.mp4", f"{X264} -bf 8 -b_strategy 0 -x264-params b-pyramid=normal -c:a aac"),
    Clip("open_gop.mkv", f"{B3} -x264-params open-gop=1 -c:a aac"),
    Clip("intra.mov", f"{X264} -g 1 -c:a pcm_s16le"),
    # other codecs
    Clip("hevc.mp4", f"{X265} -tag:v hvc1 -c:a aac"),
    Clip("hevc_b.mkv", f"{X265}:bframes=3 -c:a libopus"),
    Clip("hevc.ts", f"{X265}:bframes=3 -c:a aac"),
    Clip("mpeg4_b.avi", "-c:v mpeg4 -q:v 2 -bf 2 -g 12 -c:a libmp3lame"),
    Clip("xvid.avi", "-c:v libxvid -vtag XVID -q:v 2 -bf 2 -g 12 -c:a libmp3lame", apart_s=0.14),
    Clip("mpeg4.mp4", "-c:v mpeg4 -q:v 2 -bf 2 -g 12 -c:a aac"),
    Clip("divx3.avi", "-c:v msmpeg4 -q:v 2 -g 12 -c:a libmp3lame"),
    Clip("msmpeg4.wmv", "-c:v msmpeg4 -q:v 2 -g 12 -c:a wmav2"),
    Clip("wmv2.wmv", "-c:v wmv2 -q:v 2 -g 12 -c:a wmav2"),
    Clip("mpeg1.mpg", "-c:v mpeg1video -q:v 2 -bf 2 -g 12 -c:a mp2"),
    Clip("mpeg2.mpg", f"{MPEG2} -bf 2 -c:a mp2"),
    Clip("mpeg2.vob", f"{MPEG2} -bf 2 -c:a ac3 -f vob"),
    Clip("mpeg2.ts", f"{MPEG2} -bf 2 -c:a mp2"),
    Clip("mjpeg.avi", "-c:v mjpeg -q:v 2 -pix_fmt yuvj422p -c:a pcm_s16le"),
    Clip("mjpeg.mov", "-c:v mjpeg -q:v 2 -pix_fmt yuvj420p -c:a pcm_s16le"),
    Clip("vp8.webm", "-c:v libvpx -b:v 800k -deadline realtime -cpu-used 8 -g 10 -c:a libvorbis"),
    Clip("vp9.webm", "-c:v libvpx-vp9 -b:v 800k -deadline realtime -cpu-used 8 -g 10 -c:a libopus"),
    Clip("vp9_alt.webm", "-c:v libvpx-vp9 -b:v 800k -cpu-used 8 -lag-in-frames 12 -auto-alt-ref 1 -c:a libopus"),
    Clip("vp9.mp4", "-c:v libvpx-vp9 -b:v 800k -deadline realtime -cpu-used 8 -c:a aac"),
    Clip("av1.mp4", "-c:v libaom-av1 -b:v 800k -usage realtime -cpu-used 8 -c:a aac"),
    Clip("theora.ogv", "-c:v libtheora -q:v 9 -g 10 -c:a libvorbis"),
    Clip("flv1.flv", "-c:v flv -q:v 2 -c:a libmp3lame -ar 44100"),
    Clip("screen.flv", "-c:v flashsv -c:a libmp3lame -ar 44100"),
    Clip("prores.mov", "-c:v prores -c:a pcm_s16le"),
    Clip("ffv1.mkv", "-c:v ffv1 -c:a flac"),
    Clip("huffyuv.avi", "-c:v huffyuv -c:a pcm_s16le"),
    Clip("zmbv.avi", "-c:v zmbv -c:a pcm_s16le"),
    Clip("qtrle.mov", "-c:v qtrle -c:a pcm_s16le"),
    Clip("raw.avi", "-c:v rawvideo -pix_fmt bgr24 -c:a pcm_s16le"),
    Clip("rv20.rm", "-c:v rv20 -q:v 2 -vf pad=96:80:0:4 -c:a ac3 -ar 44100", shown=(96, 80)),
    Clip("svq1.mov", "-c:v svq1 -q:v 2 -c:a adpcm_ima_qt"),
    Clip("picture.gif", "-map 0:v", sound=False),
    Clip("picture.apng", "-map 0:v -plays 0", sound=False),
    Clip("picture.h264", f"-map 0:v {X264}", sound=False),
    Clip("dv.dv", "-target pal-dv", shown=(768, 576)),
    # pixels
    Clip("ten_bit.mkv", "-c:v libx264 -preset ultrafast -crf 16 -pix_fmt yuv420p10le -c:a aac"),
    Clip("four_four_four.mkv", "-c:v libx264 -preset ultrafast -crf 16 -pix_fmt yuv444p -c:a aac"),
    Clip("full_range.mp4", f"{X264} -color_range pc -vf scale=out_range=pc -c:a aac"),
    Clip("bt709.mp4", f"{X264} -vf scale=out_color_matrix=bt709 -colorspace bt709 -c:a aac"),
    Clip("odd.webm", "-vf scale=97:71 -c:v libvpx -b:v 800k -cpu-used 8 -c:a libopus", shown=(97, 71)),
    Clip("odd.mp4", f"-vf scale=98:74,crop=97:71 {X264.replace('420', '444')} -c:a aac", shown=(97, 71)),
    Clip("interlaced.mp4", f"{X264} -x264-params tff=1 -c:a aac"),
    Clip("interlaced.mpg", f"{MPEG2} -flags +ildct+ilme -top 1 -c:a mp2"),
    Clip("sar.mp4", f"{X264} -vf scale=72:72,setsar=4/3 -c:a aac"),
    Clip("sar.mkv", f"{X264} -vf scale=128:72,setsar=3/4 -c:a aac"),
    Clip("sar.mov", f"{B3} -vf scale=48:72,setsar=2 -c:a aac"),
    Clip("sar.avi", "-c:v mpeg4 -q:v 2 -vf scale=72:72,setsar=4/3 -c:a libmp3lame"),
    Clip("sar.ts", f"{B3} -vf scale=72:72,setsar=4/3 -c:a aac"),
    Clip("sar.mpg", f"{MPEG2} -vf scale=72:72,setsar=4/3 -aspect 4:3 -c:a mp2"),
    Clip("sar.webm", "-c:v libvpx -b:v 800k -cpu-used 8 -vf scale=72:72,setsar=4/3 -c:a libopus"),
    *_ways(),
    Clip("sar_turned.mp4", f"{X264} -vf transpose=dir=cclock,scale=36:96,setsar=2 -c:a aac", matrix(0, 1, -1, 0)),
    # time
    Clip("uneven.mp4", f"{B3} -vf select='lt(n\\,10)+not(mod(n\\,3))+between(n\\,11\\,16)' -fps_mode vfr -c:a aac"),
    Clip(
        "uneven.webm",
        "-c:v libvpx -b:v 800k -cpu-used 8 -vf select='lt(n\\,10)+not(mod(n\\,3))+between(n\\,11\\,16)' -fps_mode vfr -c:a libopus",
    ),
    Clip("ntsc.mp4", f"{B3} -vf fps=30000/1001 -c:a aac"),
    Clip("fast.mp4", f"{X264} -vf fps=240 -c:a aac"),
    Clip("slow.mkv", f"{X264} -vf fps=10 -c:a aac"),
    Clip("later.ts", f"{B3} -c:a aac -output_ts_offset 700"),
    Clip("later.mkv", f"{B3} -c:a aac -output_ts_offset 5"),
    Clip("later.mp4", f"{B3} -c:a aac -output_ts_offset 5"),
    Clip("negative.mp4", f"{B3} -c:a aac -output_ts_offset -0.3 -avoid_negative_ts disabled"),
    Clip("wrapped.ts", f"{B3} -c:a aac -output_ts_offset 95441.7"),
    Clip("no_length.webm", "-c:v libvpx -b:v 800k -cpu-used 8 -c:a libopus -live 1 -f webm"),
    Clip("no_length.flv", f"{X264} -c:a aac -ar 44100 -flvflags no_duration_filesize"),
    Clip("no_picture.m4a", "-map 1:a -c:a aac"),
    Clip("no_sound.mp4", f"-map 0:v {B3}", sound=False),
    Clip(
        "late_sound.mp4",
        made=copied(
            "-i",
            "h264_b.mp4",
            "-ss",
            "0.3",
            "-i",
            "h264_b.mp4",
            "-map",
            "0:v",
            "-map",
            "1:a",
            "-c:v",
            "copy",
            "-c:a",
            "aac",
            "-af",
            "asetpts=PTS+0.3/TB",
        ),
    ),
    Clip(
        "late_sound.mkv",
        made=copied(
            "-i",
            "h264_b.mkv",
            "-ss",
            "0.3",
            "-i",
            "h264_b.mkv",
            "-map",
            "0:v",
            "-map",
            "1:a",
            "-c:v",
            "copy",
            "-c:a",
            "libvorbis",
            "-af",
            "asetpts=PTS+0.3/TB",
        ),
    ),
    Clip(
        "late_picture.mp4",
        made=copied(
            "-ss",
            "0.3",
            "-i",
            "h264.mp4",
            "-i",
            "h264.mp4",
            "-map",
            "0:v",
            "-map",
            "1:a",
            "-c:a",
            "copy",
            *X264.split(),
            "-vf",
            "setpts=PTS+0.3/TB",
        ),
    ),
    Clip(
        "late_picture.ts",
        made=copied(
            "-ss",
            "0.3",
            "-i",
            "h264.mp4",
            "-i",
            "h264.mp4",
            "-map",
            "0:v",
            "-map",
            "1:a",
            "-c:a",
            "copy",
            *X264.split(),
            "-vf",
            "setpts=PTS+0.3/TB",
        ),
    ),
    Clip("edit_list.mp4", made=copied("-ss", "0.3", "-i", "h264_b.mp4", "-c", "copy")),
    Clip("edit_list.mov", made=copied("-ss", "0.2", "-i", "h264_b.mov", "-c", "copy")),
    # sizes that change, clips that were joined, damage
    Clip("small.webm", "-c:v libvpx -b:v 800k -cpu-used 8 -vf scale=48:36 -c:a libvorbis", shown=(48, 36)),
    Clip("small.ts", f"{B3} -vf scale=48:36 -c:a aac", shown=(48, 36)),
    Clip("grows.webm", made=listed("small.webm", "vp8.webm"), shown=(48, 36)),
    Clip("grows.ts", made=listed("small.ts", "h264_b.ts"), shown=(48, 36)),
    Clip("shrinks.mkv", made=listed("vp8.webm", "small.webm")),
    Clip("joined.mp4", made=listed("h264_b.mp4", "h264_b.mp4")),
    Clip("cat.ts", made=joined("h264_b.ts", "h264_b.ts"), joins=True),
    Clip("cat_later.ts", made=joined("later.ts", "h264_b.ts"), joins=True),
    Clip("cat.mpg", made=joined("mpeg2.mpg", "mpeg2.mpg"), joins=True),
    Clip("tuned_in.ts", made=beheaded("mpeg2.ts", 0.2)),
    Clip("bad_packet.mp4", f"{X264} -c:a aac", spoiled(5), lost=1),
    Clip("bad_packet.avi", "-c:v mpeg4 -q:v 2 -bf 2 -g 12 -c:a libmp3lame", spoiled(5), lost=2),
    Clip("bad_packet.mkv", f"{B3} -c:a aac", spoiled(7), lost=2),
    Clip("bad_packet.webm", "-c:v libvpx -b:v 800k -cpu-used 8 -g 10 -c:a libvorbis", spoiled(5), lost=2),
)


# Name -> codec of the picture and its options, codec of the sound: what PyAV makes by itself.
PYAV: dict[str, tuple[str, dict[str, str], str]] = {
    "h264.mp4": ("libx264", {}, "aac"),
    "h264_b.mp4": ("libx264", {"bf": "3"}, "aac"),
    "h264_b.mov": ("libx264", {"bf": "3"}, "pcm_s16le"),
    "h264_b.mkv": ("libx264", {"bf": "3"}, "aac"),
    "h264_b.avi": ("libx264", {"bf": "3"}, "pcm_s16le"),
    "h264_b.asf": ("libx264", {"bf": "3"}, "aac"),
    "h264_b.ts": ("libx264", {"bf": "3"}, "aac"),
    "h264_b.flv": ("libx264", {"bf": "3"}, "aac"),
    "mpeg4_b.avi": ("mpeg4", {"bf": "2", "qmax": "3"}, "pcm_s16le"),
    "mpeg2.mpg": ("mpeg2video", {"bf": "2", "qmax": "3"}, "mp2"),
    "mpeg2.ts": ("mpeg2video", {"bf": "2", "qmax": "3"}, "mp2"),
    "vp8.webm": ("libvpx", {"cpu-used": "8", "deadline": "realtime"}, "libopus"),
}
TIMES = Path(__file__).with_name("clip_times.json")


def make_with_pyav(path: Path) -> None:
    """One of PYAV."""
    codec, options, sound_codec = PYAV[path.name]
    with av.open(str(path), "w") as container:
        shown = container.add_stream(codec, rate=FPS)
        shown.width, shown.height, shown.pix_fmt = *SIZE, "yuv420p"
        shown.bit_rate, shown.options = 2_000_000, {"g": "10", "preset": "ultrafast", **options}
        audio = container.add_stream(sound_codec, rate=RATE_HZ, layout="mono")
        for number in range(FRAMES):
            frame = av.VideoFrame.from_ndarray(picture(number in FLASH), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            container.mux(shown.encode(frame))
        container.mux(shown.encode(None))
        whole = sound()
        for start in range(0, len(whole), 1024):
            samples = av.AudioFrame.from_ndarray(whole[None, start : start + 1024], format="s16", layout="mono")
            samples.sample_rate, samples.pts, samples.time_base = RATE_HZ, start, Fraction(1, RATE_HZ)
            container.mux(audio.encode(samples))
        container.mux(audio.encode(None))


def make(folder: Path) -> None:
    """Make all clips of the table in an empty folder; those whose encoder this ffmpeg lacks are left out."""
    pictures = [picture(number in FLASH) for number in range(FRAMES)]
    (folder / "picture.rgb").write_bytes(np.stack(pictures).tobytes())
    (folder / "sound.pcm").write_bytes(sound().tobytes())
    there = subprocess.run(["ffmpeg", "-hide_banner", "-encoders"], capture_output=True, text=True, check=True).stdout
    outputs: list[str] = []
    for clip in TABLE:
        words = clip.options.split()
        named = [words[i + 1] for i, word in enumerate(words) if word in ("-c:v", "-c:a")]
        if words and all(f" {name} " in there for name in named):
            outputs += [*words, clip.name]
    sources = ["-f", "rawvideo", "-pixel_format", "rgb24", "-video_size", "96x72", "-framerate", str(FPS)]
    sources += ["-i", "picture.rgb", "-f", "s16le", "-ar", str(RATE_HZ), "-ac", "1", "-i", "sound.pcm"]
    ffmpeg("-threads", "1", *sources, *outputs, folder=folder)
    for clip in TABLE:
        if clip.made is not None and (not clip.options or (folder / clip.name).exists()):
            clip.made(folder / clip.name)


def times_s(path: Path) -> list[float | None]:
    """When ffprobe shows each frame, from the clip's start; None where it does not know."""
    found = _probe(
        path, "-select_streams", "v:0", "-show_entries", "format=start_time:frame=best_effort_timestamp_time"
    )
    start_s = float(found["format"].get("start_time", 0))
    listed = [frame.get("best_effort_timestamp_time", "N/A") for frame in found["frames"]]
    return [None if time == "N/A" else float(time) - start_s for time in listed]


def _probe(path: Path, *arguments: str) -> dict[str, list[dict[str, str]]]:
    command = ["ffprobe", "-v", "quiet", "-of", "json", *arguments, str(path)]
    return dict(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        listed_s = {}
        for name in PYAV:
            make_with_pyav(Path(made) / name)
            listed_s[name] = [time_s if time_s is None else round(time_s, 6) for time_s in times_s(Path(made) / name)]
    TIMES.write_text(
        "{\n" + ",\n".join(f' "{name}": {json.dumps(times)}' for name, times in listed_s.items()) + "\n}\n"
    )
