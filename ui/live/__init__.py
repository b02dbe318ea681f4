"""The tab Live: classify a stream of posts, compare two models on it, label what they disagree on."""
