"""Machines that live in the process of the test."""
