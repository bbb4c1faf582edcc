"""Files of predictions: read in blocks, checked, and aligned by id in bounded memory."""
