"""``hvcod data criteo``: rows of text become features."""
