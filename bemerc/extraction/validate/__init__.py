"""Validate caches: every row against its clock, every column against its range, every clip's hash, the store.

open_cache refuses files whose shapes contradict each other, and must be quick. These checks read every row and, where
the clips are given, every clip, so that a broken disk, an edited file or a wrong import shows, with the utterance's id.
An *error* would hand on false numbers; a *warning* is what one should know and may be as it should.
"""

from bemerc.extraction.validate.clips import check_against_clips
from bemerc.extraction.validate.report import Issue, Report, as_json, describe_cache, reports_as_json, unopenable
from bemerc.extraction.validate.rows import check_rows
from bemerc.extraction.validate.side_by_side import check_side_by_side

__all__ = [
    "Issue",
    "Report",
    "as_json",
    "check_against_clips",
    "check_rows",
    "check_side_by_side",
    "describe_cache",
    "reports_as_json",
    "unopenable",
]
