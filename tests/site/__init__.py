"""What the documentation site must be once it is built."""
