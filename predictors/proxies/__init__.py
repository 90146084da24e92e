"""Zero-cost proxies: what an untrained network says of how well it will train, one proxy a file."""
