"""The first call of a case, and whether its output is eager's: within a tolerance, or as far off as eager itself."""
