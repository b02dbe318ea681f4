"""The base, and the classifier that is made of it."""
