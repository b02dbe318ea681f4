"""The Compare tab: base and fine-tuned model side by side."""
