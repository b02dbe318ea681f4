"""The tab Compare: base and fine-tuned side by side."""
