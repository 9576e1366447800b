"""Graph -> artifact."""
