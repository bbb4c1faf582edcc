"""What a run would cost before it runs: bytes, seconds, staleness, by the number of groups."""
