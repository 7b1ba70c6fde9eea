"""Pictures of what was measured: the page of a conversation, the annotated video, the picture of one utterance."""
