"""The extraction wing: clips in, frame caches out. ``bemerc.extraction.run`` runs it; nothing is imported here."""
