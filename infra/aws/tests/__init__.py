"""What `make infra-aws` checks; not among the tests of the code, which have no CDK."""
