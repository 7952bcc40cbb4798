"""How the application looks and answers: themes, keys, palette, and what a person chose or did last."""
