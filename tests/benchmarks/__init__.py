"""What Middle Management costs and how quickly it acts, measured side by side in one run.

Each module is a command that ends by itself: ``python -m tests.benchmarks.publish [--json]``, and
so ``throughput``, ``latency``, ``burst`` and ``count``. Run them on a machine that has nothing else
to do, and look at the spread before the figure.
"""
