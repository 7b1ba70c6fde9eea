"""Decode clips: video frames with their timestamps, and the sound, on one clock in seconds from the clip's start.

``video.Video`` iterates over frames, ``audio.read_sound`` returns the waveform, both by PyAV (OpenCV reads no sound,
and has frame numbers in place of timestamps). Frames are converted to RGB only when their pixels are asked for.
Nothing seeks, so an utterance within a long video has the same frames whether it is read alone or with its neighbours.

A clip that cannot be read raises MediaError, a sentence about "the clip": callers put its id or path in front. Of a
truncated or damaged clip, what can be decoded is returned, and ``faults`` says what is missing. A change that alters
pixels, times or samples must raise DECODING in extraction/store.py, so that stored results are computed anew.
"""
