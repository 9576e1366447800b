"""Pass-by-pass views of a compilation."""
