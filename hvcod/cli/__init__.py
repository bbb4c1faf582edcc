"""The command line: one file per command; nothing heavy is imported until a command runs."""
