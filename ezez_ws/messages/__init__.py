"""Messages: values to bytes and back; pure, without I/O and without threads."""
