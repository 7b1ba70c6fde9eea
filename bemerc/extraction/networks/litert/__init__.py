"""MediaPipe's models on LiteRT, with the thin part around them in numpy and OpenCV: no graph, no private interface.

Not the default yet: the action-unit weights are fitted to the mesh of ``bemerc.extraction.networks``.
"""
