"""Tests of Recollect."""
