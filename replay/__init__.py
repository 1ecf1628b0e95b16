"""Recorded and synthetic traffic, labelled incidents, the driver without Kafka, scoring and reports."""
