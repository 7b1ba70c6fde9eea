"""What a worker is at, in a few bytes that it shares with the crew: whatever ends it, they are there and whole."""

from __future__ import annotations

import struct

# The place in its task of the utterance that is being measured, or one of the two below; and, while the decoder works, how many
# seconds of the clip it has given.
PLACE = struct.Struct("=qd")
DECODING = -1  # the decoder works, for all utterances
TOGETHER = -2  # an extractor works on several utterances at once
