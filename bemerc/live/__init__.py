"""Live: a camera and a microphone, or a file at real speed, measured as they come; an emotion when an utterance ends.

It stands above both wings: frames and sound are measured by the extraction wing's own extractors, utterance by
utterance, and the language wing labels what they measured. What is offline here is offline there: the rows of an
utterance are those that ``bemerc extract`` gives for the same part of the same file.
"""
