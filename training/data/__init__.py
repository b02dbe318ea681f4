"""Labelled data: where it comes from, what is wrong with it, and its splits."""
