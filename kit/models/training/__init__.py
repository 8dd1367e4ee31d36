"""Training networks: the recipe, the one loop, and what it is made of; `fit` trains one network."""
