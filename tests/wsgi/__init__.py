"""Connections that come through real web servers, next to pages on the same port."""
