"""Tests that need engines: Ray, PostgreSQL, an S3-compatible store."""
