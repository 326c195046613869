"""Evaluation: weights under a named protocol → one record per image → tables, plots, a report.

`protocols` names what is measured, `pictures` makes the two pictures that are compared, `records` runs and writes one
record per image, `summary` turns records into means with confidence intervals, `report` shows them beside the figures
of `published`.
"""
