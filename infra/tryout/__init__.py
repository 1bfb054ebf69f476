"""Requests to try the API with, made from its description: a Postman collection, an `.http` file, and their runner."""
