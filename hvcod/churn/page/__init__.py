"""One self-contained page that shows a comparison: no script, no request leaves it."""
