"""Scores of classifiers on the same rows, and what compares them."""
