"""Ocelot on AWS. Stages, containers, task definitions and costs need the standard library alone; the rest is CDK."""
