"""What a worker is doing, in 16 bytes that it shares with the pool and that survive its death."""

from __future__ import annotations

import struct

# The index of the request in its task that is being extracted, or one of the two below; and, while the decoder works,
# how many seconds of the clip it has decoded.
STATUS = struct.Struct("=qd")
DECODING = -1  # the decoder works, for all requests
BATCH = -2  # an extractor works on several requests at once
