"""Inputs of images/."""

from field.case import Case

CASES: list[Case] = []
