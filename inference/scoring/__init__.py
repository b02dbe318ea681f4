"""Score a file of texts: read it in chunks, label every row, write the result so that a kill loses nothing.

    command     `python -m inference score`, with a bar or plain lines
    job         the input, the output and the options, checked before a model is loaded
    score       read, classify and write at the same time
    on_ray      classify on a Ray cluster
    parts       the folder OUT.partial: finished parts, and what they were made from

Files are read and written by `inference.tables`.
"""
