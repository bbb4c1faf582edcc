"""What is measured of the predictions of several models, in one pass over them."""
