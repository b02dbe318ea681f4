"""Score files of texts: read them in chunks, label every row, write the result so that a kill loses nothing.

    columns     which column holds the texts, what the new columns are called
    source      what a file is to the rest: chunks of rows; opens files, gzipped or not
    delimited   CSV and TSV · jsonl · parquet
    sinks       write rows and predictions in each format
    parts       the folder OUT.partial: finished parts, and what they were made from
    scoring     reads, classifies and writes at the same time, here
    on_ray      classifies on a Ray cluster
    progress    a bar, or plain lines
    command     `python -m inference score`

Nothing here knows about training or the app.
"""
