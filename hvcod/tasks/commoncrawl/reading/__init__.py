"""Reading documents from WET, JSON lines and plain text."""
