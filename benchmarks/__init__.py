"""One script a claim; each writes a file in results/ that the tables of README.md are made from."""
