"""Wire types to domain calls and back."""
