"""Libraries that follow a training, each in a process of its own beside the group root."""
