"""Train on a rented machine of the Hub: the same recipe as a Hugging Face Job, seen here as a local run.

    python -m training train quick --on jobs:l4x1

`command` plans and asks, `crate` packs the code, `bootstrap` and `work` run inside the job, `follow` brings
its events and its artifact home. Knows nothing about how a training works.
"""
