"""Networks: models that are trained on pixels."""
