"""Who is calling, what they own and what they may do."""
