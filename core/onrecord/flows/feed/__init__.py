"""What happened since: looked for, handed out, and made final."""
