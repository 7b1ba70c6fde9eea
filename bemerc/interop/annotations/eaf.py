"""Write ELAN's annotation format, EAF 3.0 (schema EAFv3.0.xsd: elements in its order, ids unique in the document).

Words and behavior have times of their own; labels, predictions, descriptions and records belong to the words
(Symbolic_Association), so that they move with them. Labels have a controlled vocabulary. The media file is linked by
its path from the .eaf, so that a folder with both can be sent to somebody.
"""

from __future__ import annotations

import mimetypes
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree as ET

from bemerc.core.atomic import write_bytes
from bemerc.corpus.readers.tiers import WORDS, Tier, clean
from bemerc.interop.annotations.recordings import Recording, relative, tiers

_XSI = "http://www.w3.org/2001/XMLSchema-instance"
_SCHEMA = "http://www.mpi.nl/tools/elan/EAFv3.0.xsd"
_VOCABULARY, _LANGUAGE = "labels", "und"
_TYPES: Mapping[str, Mapping[str, str]] = {
    "utterance": {"TIME_ALIGNABLE": "true"},
    "label": {
        "TIME_ALIGNABLE": "false",
        "CONSTRAINTS": "Symbolic_Association",
        "CONTROLLED_VOCABULARY_REF": _VOCABULARY,
    },
    "note": {"TIME_ALIGNABLE": "false", "CONSTRAINTS": "Symbolic_Association"},
    "behavior": {"TIME_ALIGNABLE": "true"},
}
_CONSTRAINTS = {
    "Time_Subdivision": "Time subdivision of parent annotation's time interval, no time gaps allowed within this interval",
    "Symbolic_Subdivision": "Symbolic subdivision of a parent annotation. Annotations refering to the same parent are ordered",
    "Symbolic_Association": "1-1 association with a parent annotation",
    "Included_In": "Time alignable annotations within the parent annotation's time interval, gaps are allowed",
}


def write(recording: Recording, path: Path) -> None:
    """Write one recording. DiskError where the disk refuses."""
    write_bytes(path, to_bytes(list(tiers(recording, path)), recording, path))


def to_bytes(written: Sequence[Tier], recording: Recording, path: Path) -> bytes:
    """The document as UTF-8."""
    root = ET.Element(
        "ANNOTATION_DOCUMENT",
        {
            "AUTHOR": "bemerc",
            "DATE": datetime.now(UTC).isoformat(timespec="seconds"),
            "FORMAT": "3.0",
            "VERSION": "3.0",
            "xmlns:xsi": _XSI,
            "xsi:noNamespaceSchemaLocation": _SCHEMA,
        },
    )
    count = sum(len(tier.intervals) for tier in written)
    _add_header(root, recording, path, count)
    slots = _add_slots(root, written)
    _add_tiers(root, written, slots)
    _add_types(root, recording.labels)
    ET.indent(root, " ")
    # A parser reads a carriage return as a line feed, unless it is a character reference.
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root).replace(b"\r", b"&#13;") + b"\n"


def _add_header(root: ET.Element, recording: Recording, path: Path, count: int) -> None:
    header = ET.SubElement(root, "HEADER", {"MEDIA_FILE": "", "TIME_UNITS": "milliseconds"})
    if recording.media is not None:
        media = relative(recording.media, path.parent)
        url = f"file://{media}" if media.startswith("/") else f"./{media}"
        kind = mimetypes.guess_type(recording.media.name)[0] or "video/*"
        # ELAN tries the first, and then the second from the .eaf's own folder.
        ET.SubElement(
            header,
            "MEDIA_DESCRIPTOR",
            {"MEDIA_URL": clean(url), "MIME_TYPE": kind, "RELATIVE_MEDIA_URL": clean(url)},
        )
    urn = uuid.uuid5(uuid.NAMESPACE_URL, clean(recording.name))
    ET.SubElement(header, "PROPERTY", {"NAME": "URN"}).text = f"urn:nl-mpi-tools-elan-eaf:{urn}"
    ET.SubElement(header, "PROPERTY", {"NAME": "lastUsedAnnotationId"}).text = str(count)


def _add_slots(root: ET.Element, written: Iterable[Tier]) -> dict[tuple[str, int, bool], str]:
    """Two time slots per annotation that has times, in order of time; (tier, number, is the offset) -> id."""
    order = ET.SubElement(root, "TIME_ORDER")
    times = sorted(
        (time, tier.name, number, is_offset)
        for tier in written
        if not tier.parent
        for number, interval in enumerate(tier.intervals)
        for is_offset, time in enumerate((interval.onset_ms, interval.offset_ms))
    )
    slots = {}
    for at, (time, name, number, is_offset) in enumerate(times, 1):
        slots[name, number, bool(is_offset)] = f"ts{at}"
        ET.SubElement(order, "TIME_SLOT", {"TIME_SLOT_ID": f"ts{at}", "TIME_VALUE": str(time)})
    return slots


def _add_tiers(root: ET.Element, written: Iterable[Tier], slots: Mapping[tuple[str, int, bool], str]) -> None:
    ids: dict[tuple[str, tuple[int, int]], str] = {}  # tier and span -> annotation
    last = 0
    for tier in written:
        element = ET.SubElement(root, "TIER", _tier_attributes(tier))
        for number, interval in enumerate(tier.intervals):
            last += 1
            span = interval.onset_ms, interval.offset_ms
            ids[tier.name, span] = f"a{last}"
            annotation = ET.SubElement(element, "ANNOTATION")
            if tier.parent:
                parent = ids[tier.parent, span]
                one = ET.SubElement(
                    annotation, "REF_ANNOTATION", {"ANNOTATION_ID": f"a{last}", "ANNOTATION_REF": parent}
                )
            else:
                references = {
                    f"TIME_SLOT_REF{1 + is_offset}": slots[tier.name, number, is_offset] for is_offset in (False, True)
                }
                one = ET.SubElement(annotation, "ALIGNABLE_ANNOTATION", {"ANNOTATION_ID": f"a{last}", **references})
            ET.SubElement(one, "ANNOTATION_VALUE").text = clean(interval.value)


def _tier_attributes(tier: Tier) -> dict[str, str]:
    if tier.parent:
        kind = "label" if tier.labels else "note"
    else:
        kind = "utterance" if tier.name.startswith(f"{WORDS}@") else "behavior"
    attributes = {"LINGUISTIC_TYPE_REF": kind, "PARTICIPANT": clean(tier.speaker or ""), "TIER_ID": clean(tier.name)}
    return attributes | ({"PARENT_REF": clean(tier.parent)} if tier.parent else {})


def _add_types(root: ET.Element, labels: Sequence[str]) -> None:
    """Linguistic types, the language of the vocabulary, ELAN's four constraints, the vocabulary."""
    for name, attributes in _TYPES.items():
        if labels or "CONTROLLED_VOCABULARY_REF" not in attributes:
            ET.SubElement(
                root, "LINGUISTIC_TYPE", {"GRAPHIC_REFERENCES": "false", "LINGUISTIC_TYPE_ID": name, **attributes}
            )
    if labels:
        definition = "http://cdb.iso.org/lg/CDB-00130975-001"
        ET.SubElement(
            root, "LANGUAGE", {"LANG_DEF": definition, "LANG_ID": _LANGUAGE, "LANG_LABEL": "undetermined (und)"}
        )
    for name, description in _CONSTRAINTS.items():
        ET.SubElement(root, "CONSTRAINT", {"DESCRIPTION": description, "STEREOTYPE": name})
    if labels:
        vocabulary = ET.SubElement(root, "CONTROLLED_VOCABULARY", {"CV_ID": _VOCABULARY})
        ET.SubElement(vocabulary, "DESCRIPTION", {"LANG_REF": _LANGUAGE})
        for number, label in enumerate(labels):
            entry = ET.SubElement(vocabulary, "CV_ENTRY_ML", {"CVE_ID": f"cve{number}"})
            ET.SubElement(entry, "CVE_VALUE", {"DESCRIPTION": "", "LANG_REF": _LANGUAGE}).text = clean(label)
