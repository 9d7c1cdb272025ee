"""The filters of the paper (method A26): named rules, each with its reason on every trajectory."""
