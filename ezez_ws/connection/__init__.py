"""Events on one connection: what both sides share, and what each does by itself."""
