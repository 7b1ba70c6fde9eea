"""What holds for all tests: one thread per process, and no network.

Sums over several threads round differently, and a tiny model trained for seconds is sensitive enough to end elsewhere;
and tests that start processes of their own would have their threads wait for each other. And nothing is looked up on a hub:
a name that must be unknown would otherwise be asked for, over and over, until the network gives up.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
