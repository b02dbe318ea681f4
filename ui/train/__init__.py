"""The Train tab: data, recipe, runs, publishing."""
