"""What a network is: tables, scaling, cost and budgets, as values of the standard library."""
