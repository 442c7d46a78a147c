"""Side by side with peers: ``python -m benchmarks``. See docs/performance.md for what the rows mean."""
