"""What is right and what is wrong: plain functions of the facts, each a check of its own."""
