"""Is what a cache holds what was measured? Every row against its clock, every column against its range, every clip's hash.

open_cache refuses what contradicts itself in shape, and is asked on every read, so it must be quick. This reads every row,
and with the clips at hand every clip: what a broken disk, an edited file or somebody else's import has done shows with
the utterance's id. *wrong* is what would hand on false numbers; *odd* is what one should know and may be as it should.
"""

from bemerc.extraction.validate.clips import against_media
from bemerc.extraction.validate.report import Finding, Report, as_json, in_words, refused, to_json
from bemerc.extraction.validate.rows import check
from bemerc.extraction.validate.side_by_side import together

__all__ = ["Finding", "Report", "against_media", "as_json", "check", "in_words", "refused", "to_json", "together"]
