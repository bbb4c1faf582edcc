"""Teachers: they answer a batch with their predictions, from which a student learns."""
