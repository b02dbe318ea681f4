"""One training from its recipe to its artifact."""
