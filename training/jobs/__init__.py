"""Train on a rented machine of the Hub: the same recipe as a Hugging Face Job, seen here as a local run.

    python -m training train quick --on jobs:l4x1

`command` plans and asks, `machines` knows prices and times, `bundle` packs the code, `work` runs inside the
job, `follow` copies its events and downloads its artifact.
"""
