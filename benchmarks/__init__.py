"""One script a claim; each writes a file in results/, from which the tables of the documents are made."""
