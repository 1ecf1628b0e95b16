"""Seeded weeks of a service's slices with labelled incidents, and the pipeline's verdict on them."""
