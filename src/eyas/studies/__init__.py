"""Programs made of the rooms below; one file is one thing a user asks for."""
