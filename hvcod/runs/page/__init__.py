"""The page of a run, or of several: how it is doing, and its curves, in one file of HTML."""
