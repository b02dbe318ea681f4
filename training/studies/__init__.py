"""Many small trainings over one preparation: a search for better settings, and a forecast of more labels."""
