"""``hvcod plan``: the bytes, seconds and staleness of a run, for each number of groups."""
