"""Threads: deadlines, waiting, timers, starting, forks, exits."""
