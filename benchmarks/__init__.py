"""Side by side with peers: ``python -m benchmarks``. docs/performance.md says what the rows mean, and what came of it.

A row (``rows/``) takes a run (``run.py``) and returns lines of figures (``results.py``), which ``table.py`` writes,
``plot.py`` draws and ``check.py`` compares with older ones. To measure, a run starts a server (``peers.py``,
``servers/``) and a load generator (``load.py``, ``exercises.py``, ``dialects.py``), each a process (``agent.py``).
"""
