"""Measurements shipped with the project: what an order costs, beside what it cannot cost less than."""
