"""The paper's figures and tables: lists of runs, what they must show, and what is drawn of them."""
