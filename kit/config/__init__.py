"""Config: competition.toml as types, read strictly."""
