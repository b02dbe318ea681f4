"""Who visits: sign-in, what a visitor may change, and what the owner has set."""
