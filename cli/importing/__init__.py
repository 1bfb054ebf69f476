"""`ocelot import`: a file of audit events into a tenant, safe to repeat and to interrupt."""
