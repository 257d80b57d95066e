"""Pure functions over records: statistics, tables, groups, fronts, comparisons, advice. No drawing, no words."""
