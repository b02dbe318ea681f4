"""Read and write tables of texts: CSV, TSV, JSONL and Parquet, gzipped or not."""
