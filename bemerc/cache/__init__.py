"""The frame cache: one HDF5 file per modality with all utterances, the only link between extraction and language.

All utterances lie end to end in a few long arrays with offsets: ten thousand small groups would cost more to open than
to read. The same features give the same bytes, so DVC sees when nothing changed. The file describes itself (schema
version, modality, columns, rate, extractor, params), and open_cache raises CacheError for a file that contradicts
itself.

    attributes        schema, schema_version, modality, rate ("clip" or Hz), extractor, params (JSON), contents
    ids         (N,)      UTF-8, sorted by code point
    offsets     (N+1,)    int64; utterance i has the rows offsets[i] to offsets[i+1]
    duration_s  (N,)      float64, NaN where the clip could not be read
    columns     (D,)      UTF-8
    values      (sumT, D) float32, NaN where nothing was measured
    timestamps_s (sumT,)  float64, seconds from the utterance's start
    failures/{ids, reasons}   utterances without rows, and why
    notes/{ids, reasons}      utterances with rows of which something is missing or odd (a truncated clip, say)
    sources/{ids, sha256}     hash of the clip or file of each utterance, where the writer records it
    choices/{ids, json}       the choice of the target face, where one was selected; see Choice
    landmarks   (sumT, P, 3) int16 and landmarks_scale (sumT, 4) float32, where the extractor keeps raw points:
                point = landmarks * landmarks_scale[:, 3] + landmarks_scale[:, :3]; -32768 stands for NaN
    others/     rows of other people in the same pictures, where they are kept: ids (utterance#name), offsets, values ...
                again, of the frames in which each was detected and not measured as the target
    sha256      (N,)      of what each utterance holds, and the attribute sha256 of everything else; see checksum.py

A cache of a large corpus may lie in several such files behind a small one, which readers open as any other; see
parts.py.
"""

from bemerc.cache.opening import caches_at, choices_in, clips_per_part, notes_in, open_cache, parts_of
from bemerc.cache.parts import MOST_PARTS, is_part, part_path, sweep_parts
from bemerc.cache.read import FrameCache, clock_fault
from bemerc.cache.schema import (
    KINDS,
    MOST_HZ,
    NO_TRACK,
    OTHER,
    SCHEMA,
    SCHEMA_VERSION,
    VISIBLE,
    Choice,
    Features,
    Head,
    Kind,
    Other,
    PackedLandmarks,
    TrackSpan,
    id_of_other,
    pack_landmarks,
    split_other,
    unpack_landmarks,
)
from bemerc.cache.state import CacheState, state_of
from bemerc.cache.summary import summary, totals
from bemerc.cache.write import Rows, write_cache, write_index, write_nothing

__all__ = [
    "KINDS",
    "MOST_HZ",
    "MOST_PARTS",
    "NO_TRACK",
    "OTHER",
    "SCHEMA",
    "SCHEMA_VERSION",
    "VISIBLE",
    "CacheState",
    "Choice",
    "Features",
    "FrameCache",
    "Head",
    "Kind",
    "Other",
    "PackedLandmarks",
    "Rows",
    "TrackSpan",
    "caches_at",
    "choices_in",
    "clips_per_part",
    "clock_fault",
    "id_of_other",
    "is_part",
    "notes_in",
    "open_cache",
    "pack_landmarks",
    "part_path",
    "parts_of",
    "split_other",
    "state_of",
    "summary",
    "sweep_parts",
    "totals",
    "unpack_landmarks",
    "write_cache",
    "write_index",
    "write_nothing",
]
