"""From what there is to do to the workers needed."""
