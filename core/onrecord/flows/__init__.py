"""How an append, a read and a rewrite travel. All ordering rules live here and only here.

Each function is a flow (``flow.py``): a generator of whole steps that knows nothing of threads,
loops or drivers. Its first argument is the store's desk. What has to hold is I1-I12 of the design;
the comments say which. ``operations.py`` lists the flows that a store can be asked for.
"""
