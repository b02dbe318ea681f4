"""Fine-tuning: recipes, data, model, trainer, runs and their command line."""
