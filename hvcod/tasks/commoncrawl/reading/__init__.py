"""Documents out of WET, JSON lines and plain text, whatever is compressed or damaged."""
