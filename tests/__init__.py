"""Tests of Onrecord."""
