"""Inputs of text/."""

from field.case import Case

CASES: list[Case] = []
