"""Studies of a base and a recipe: a search, a forecast of more labels, an adaptation to a domain."""
