"""Rooms, several processes that share them, and what a client missed while it was away."""
