"""Utterances, predictions and behavior on the axis of time, for annotation programs: ELAN, Praat, WebVTT, BIDS, a table."""
