"""The filters of the paper (spec §3): named rules, each with its reason on every trajectory."""
