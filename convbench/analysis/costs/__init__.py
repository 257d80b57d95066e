"""Compare costs: rankings, fronts and gains within one comparable group.

``headlines`` gives the answer at a glance, ``ranking`` the order of models, ``pareto`` the fronts, ``gains`` each
variant against eager and more threads against fewer, and ``runtimes`` each runtime against eager.
``crossover`` finds the size at which the LSTM costs what the backbone does, ``selection`` what a page shows at first,
and ``likeness`` what cases must share for any of this.
"""
