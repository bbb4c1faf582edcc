"""Inputs of images/."""

from field.case import Case

CASES = [
    Case(
        "data imagenet {field}/images/01_ipynb --output {out}",
        (r"classes +3\n", r"folders left alone +1\n", r"not entered: \.ipynb_checkpoints"),
    ),
]
