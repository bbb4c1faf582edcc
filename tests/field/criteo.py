"""Inputs of criteo/."""

from field.case import Case

CASES: list[Case] = []
