"""Self-contained pages: frame, style and policy; blocks of text and tables; plots as inline SVG."""
