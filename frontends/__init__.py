"""Sources -> Graph."""
