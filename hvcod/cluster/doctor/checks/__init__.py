"""The checks: plain functions from the facts to a finding, one for each line of the table."""
