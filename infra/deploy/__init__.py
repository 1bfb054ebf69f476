"""Deploys to ECS, by hand and in the pipeline alike, with Python's standard library, `aws` and `docker` alone.

python -m infra.deploy push       # both images, already built and tagged with the commit, to ECR
python -m infra.deploy release    # task definitions, migration, services, smoke test; back if anything fails
"""
