"""The tab Train: data, recipe, runs, publishing."""
