"""The frame cache: one HDF5 file per modality, the door between the wing that sees video and the wing that knows an LLM.

The obvious choice is one file, or one HDF5 group, per utterance. Here all utterances lie end to end in a few long
arrays with offsets, because ten thousand small groups cost more to open than to read, and because a file that is
written once, in sorted order, from the same arrays has the same bytes: DVC then sees that nothing changed. The file
describes itself (schema version, modality, columns, rate, extractor, params), and open_cache refuses what it cannot
vouch for instead of handing on wrong numbers.

    attributes        schema, schema_version, modality, rate ("clip" or Hz), extractor, params (JSON), contents
    ids         (N,)      UTF-8, sorted by code point
    offsets     (N+1,)    int64; utterance i has the rows offsets[i] to offsets[i+1]
    duration_s  (N,)      float64, NaN where the clip could not be read
    columns     (D,)      UTF-8
    values      (sumT, D) float32, NaN where nothing was seen
    timestamps_s (sumT,)  float64, seconds from the utterance's start
    failures/{ids, reasons}   utterances without rows, and why
    notes/{ids, reasons}      utterances with rows that one should know something about (a truncated clip, say)
    sources/{ids, sha256}     of which file each utterance was measured, where the writer knew
    choices/{ids, json}       whose face was measured, where the writer chose; see Choice
    landmarks   (sumT, P, 3) int16 and landmarks_scale (sumT, 4) float32, where the extractor keeps raw points:
                point = landmarks * landmarks_scale[:, 3] + landmarks_scale[:, :3]; -32768 stands for NaN
    sha256      (N,)      of what each utterance holds, and the attribute sha256 of everything else; see checksum.py
"""

from bemerc.cache.read import FrameCache, caches_at, clock_fault, open_cache
from bemerc.cache.schema import (
    KINDS,
    MOST_HZ,
    NO_TRACK,
    SCHEMA,
    SCHEMA_VERSION,
    Choice,
    Features,
    Kind,
    PackedLandmarks,
    TrackSpan,
    pack_landmarks,
    unpack_landmarks,
)
from bemerc.cache.state import CacheState, state_of
from bemerc.cache.summary import summary, totals
from bemerc.cache.write import write_cache, write_nothing

__all__ = [
    "KINDS",
    "MOST_HZ",
    "NO_TRACK",
    "SCHEMA",
    "SCHEMA_VERSION",
    "CacheState",
    "Choice",
    "Features",
    "FrameCache",
    "Kind",
    "PackedLandmarks",
    "TrackSpan",
    "caches_at",
    "clock_fault",
    "open_cache",
    "pack_landmarks",
    "state_of",
    "summary",
    "totals",
    "unpack_landmarks",
    "write_cache",
    "write_nothing",
]
