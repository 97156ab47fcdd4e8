"""Clients of a server that offers the sampler."""
