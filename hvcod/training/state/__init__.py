"""Training states: everything a group needs to go on exactly where it stopped."""
