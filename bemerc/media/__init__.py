"""Clips: frames with their true timestamps, and the waveform, on one clock.

OpenCV is the usual choice and cannot be it: it reads no sound, and it numbers frames where a clip with a variable frame
rate has times. PyAV reads both tracks and says when each frame is shown. Two further differences save work and keep
results equal: a frame is converted to RGB only when somebody asks for its pixels, and nothing ever seeks, so that
an utterance cut out of a long video is the same frames whether it is read alone or with its neighbours.

What cannot be read is a MediaError, a sentence about "the clip": callers put the id or the path before it, since the same
content may lie under several names. A clip that breaks off, or has damaged frames, gives what can be decoded, and
``faults`` says what is missing. A change that alters pixels, times or samples must raise DECODING in extraction/store.py, so
that finished clips are measured anew.
"""
