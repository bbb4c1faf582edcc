"""What a group writes down of its training, and how it is drawn."""
