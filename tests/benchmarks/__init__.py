"""The costs and the speed of Middle Management, measured side by side in one run.

Each module is a command that ends by itself: ``python -m tests.benchmarks.publish [--json]``;
``throughput``, ``latency``, ``burst``, ``count`` and the others likewise. Run them on an otherwise
idle machine, and look at the spread before the figure.
"""
