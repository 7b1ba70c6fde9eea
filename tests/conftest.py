"""What holds for all tests: one thread per process.

Sums over several threads round differently, and a tiny model trained for seconds is sensitive enough to end elsewhere;
and tests that start processes of their own would have their threads wait for each other.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"
