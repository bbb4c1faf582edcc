"""Inputs of ``churn/``."""

from field.case import Case

CASES: list[Case] = []
