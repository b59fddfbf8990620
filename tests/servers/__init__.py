"""Real PostgreSQL and Redis servers for the tests: found, started, stopped, removed."""
