"""Clients for the tests, which run on the lab's client host: lab.py copies this package there."""
