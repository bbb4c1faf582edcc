"""How sure one can be of a measure, given so many retrains."""
