"""Measurements. No part of the tests: nothing here passes or fails."""
