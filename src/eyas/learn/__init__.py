"""How it is learned: the loop, its state, optimizers, evaluation."""
