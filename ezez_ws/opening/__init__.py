"""Becoming a WebSocket: listening, dialing, the HTTP upgrade."""
