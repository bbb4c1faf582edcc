"""Click prediction on the Criteo data (paper, section 3.1)."""
