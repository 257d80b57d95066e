"""What is cheap: rankings, fronts and gains within one comparable group.

``headlines`` is the answer at a glance, ``pareto`` the fronts, ``gains`` each variant over eager, ``crossover`` the
size at which the LSTM costs what the backbone does, ``selection`` what a page shows at first.
"""
