"""What runs over everything that is stored: erase, verify, train, vacuum."""
