"""What is wrong with a training, and what to change: by its records, and by how its model behaves."""
