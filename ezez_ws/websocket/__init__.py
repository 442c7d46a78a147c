"""RFC 6455 over any wire, in either role."""
