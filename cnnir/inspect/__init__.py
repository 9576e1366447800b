"""What passes did to a network, and pictures of it."""
