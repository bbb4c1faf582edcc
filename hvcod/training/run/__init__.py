"""The run directory: what ran, who trains a group, and with which options it may go on."""
