"""Read ELAN's annotation format (EAF, versions 2.x and 3.0): tiers, speakers, linked media, controlled vocabularies.

Entities are never expanded, and nothing that a file names is fetched. An annotation on a dependent tier has the times
of the one that it refers to.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn
from xml.parsers import expat

from bemerc.core.errors import CorpusError
from bemerc.core.terminal import printable
from bemerc.corpus.readers.tiers import MAX_BYTES, MAX_MS, AnnotationFile, Interval, Media, Tier
from bemerc.corpus.text import read_bytes

SUFFIX = ".eaf"
MAX_ANNOTATIONS = 500_000
_MAX_CHAIN = 20  # tiers below tiers
_AGAIN = "Open it in ELAN and save it again, or leave it out."


def read(path: Path) -> AnnotationFile:
    """The content of an .eaf file. CorpusError, with the line where there is one, where it is damaged, has entities, or
    counts time in frames."""
    data = read_bytes(path, MAX_BYTES)
    document = _Document(path)
    try:
        document.parser.Parse(data, True)
    except expat.ExpatError as error:
        reason = expat.errors.messages[error.code]
        raise CorpusError(f"this is no valid XML ({reason}). {_AGAIN}", path=path, line=error.lineno) from None
    except (ValueError, LookupError) as error:
        raise CorpusError(f"its encoding is not read ({printable(error, 80)}). {_AGAIN}", path=path) from None
    return document.content()


class _Annotation:
    """An annotation as its element says: a value with the time slots, or the annotation, that it refers to."""

    def __init__(self, attributes: Mapping[str, str]) -> None:
        self.id = attributes.get("ANNOTATION_ID", "")
        self.slots = attributes.get("TIME_SLOT_REF1", ""), attributes.get("TIME_SLOT_REF2", "")
        self.reference = attributes.get("ANNOTATION_REF", "")
        self.value = ""


class _Document:
    """Collects an EAF document element by element."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.parser = parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        parser.EntityDeclHandler = self._entity
        self._is_first = True
        self._slots: dict[str, int | None] = {}
        self._media: list[Media] = []
        self._tiers: list[tuple[Mapping[str, str], list[_Annotation]]] = []
        self._by_id: dict[str, _Annotation] = {}
        self._vocabulary_of: dict[str, str] = {}  # linguistic type -> vocabulary
        self._vocabularies: dict[str, list[str]] = {}
        self._text: list[str] | None = None
        self._vocabulary = ""

    def content(self) -> AnnotationFile:
        """Tiers with the times of their annotations."""
        tiers, unaligned = [], 0
        for attributes, members in self._tiers:
            spans = [self._span(annotation) for annotation in members]
            unaligned += spans.count(None)
            intervals = tuple(
                Interval(*span, annotation.value)
                for annotation, span in zip(members, spans, strict=True)
                if span is not None
            )
            labels = self._vocabularies.get(self._vocabulary_of.get(attributes.get("LINGUISTIC_TYPE_REF", ""), ""), [])
            speaker, parent = attributes.get("PARTICIPANT"), attributes.get("PARENT_REF", "")
            tiers.append(Tier(attributes.get("TIER_ID", ""), intervals, speaker, parent, tuple(dict.fromkeys(labels))))
        notes = [f"{unaligned} of its annotations have no times that can be used."] if unaligned else []
        return AnnotationFile(tuple(tiers), tuple(self._media), tuple(notes))

    def _span(self, annotation: _Annotation) -> tuple[int, int] | None:
        """Onset and offset in milliseconds; None where it has none, or they are in the wrong order."""
        for _ in range(_MAX_CHAIN):
            if not annotation.reference:
                break
            if annotation.reference not in self._by_id:
                return None
            annotation = self._by_id[annotation.reference]
        onset, offset = (self._slots.get(slot) for slot in annotation.slots)
        if onset is None or offset is None or not 0 <= onset < offset < MAX_MS:
            return None
        return onset, offset

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        if self._is_first and tag != "ANNOTATION_DOCUMENT":
            raise CorpusError(f"this is XML of another kind ({printable(tag, 40)}). {_AGAIN}", path=self.path)
        self._is_first = False
        if tag == "HEADER" and attributes.get("TIME_UNITS", "milliseconds") != "milliseconds":
            self._refuse("it counts time in frames, and only milliseconds are read")
        elif tag == "MEDIA_DESCRIPTOR":
            origin = _whole(attributes.get("TIME_ORIGIN", "")) or 0
            urls = [attributes.get(name, "") for name in ("RELATIVE_MEDIA_URL", "MEDIA_URL")]
            self._media += [Media(url, origin) for url in dict.fromkeys(urls) if url]
        elif tag == "TIME_SLOT":
            self._slots[attributes.get("TIME_SLOT_ID", "")] = _whole(attributes.get("TIME_VALUE", ""))
        elif tag == "TIER":
            self._tiers.append((attributes, []))
        elif tag in ("ALIGNABLE_ANNOTATION", "REF_ANNOTATION") and self._tiers:
            annotation = self._by_id[attributes.get("ANNOTATION_ID", "")] = _Annotation(attributes)
            self._tiers[-1][1].append(annotation)
            if len(self._by_id) > MAX_ANNOTATIONS:
                self._refuse(f"it has more than {MAX_ANNOTATIONS:,} annotations; split it")
        elif tag == "LINGUISTIC_TYPE":
            name, vocabulary = (attributes.get(k, "") for k in ("LINGUISTIC_TYPE_ID", "CONTROLLED_VOCABULARY_REF"))
            self._vocabulary_of[name] = vocabulary
        elif tag == "CONTROLLED_VOCABULARY":
            self._vocabulary = attributes.get("CV_ID", "")
        elif tag in ("ANNOTATION_VALUE", "CVE_VALUE", "CV_ENTRY"):
            self._text = []

    def _characters(self, text: str) -> None:
        if self._text is not None:
            self._text.append(text)

    def _end(self, tag: str) -> None:
        if self._text is None or tag not in ("ANNOTATION_VALUE", "CVE_VALUE", "CV_ENTRY"):
            return
        value, self._text = "".join(self._text), None
        if tag != "ANNOTATION_VALUE":
            self._vocabularies.setdefault(self._vocabulary, []).append(value.strip())
        elif self._tiers and self._tiers[-1][1]:
            self._tiers[-1][1][-1].value = value

    def _entity(self, *_: object) -> NoReturn:
        self._refuse("it declares entities, which an annotation file has no use for")

    def _refuse(self, reason: str) -> NoReturn:
        line = self.parser.CurrentLineNumber
        raise CorpusError(f"{reason}. {_AGAIN}", path=self.path, line=line)


def _whole(written: str) -> int | None:
    """A whole number of milliseconds; None for anything else."""
    digits = written.removeprefix("-")
    return int(written) if digits.isascii() and digits.isdigit() and len(digits) <= 12 else None
