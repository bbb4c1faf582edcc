"""A study of retrains: trains them all, lets them predict the same examples, compares them."""
