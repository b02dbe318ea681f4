"""The ladder: every way from zero labels to full fine-tuning, measured on the same locked test rows."""
