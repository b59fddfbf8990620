"""What a doctor looks at: each module makes some of its checks."""
