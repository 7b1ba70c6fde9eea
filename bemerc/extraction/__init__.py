"""The extraction wing: clips to frame caches. ``loop`` runs it; nothing is imported here, so that the door stays light."""
