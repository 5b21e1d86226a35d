"""How the sample corpus looks and speaks: products, silhouettes, pictures, clips, titles and queries, all drawn from a seed."""
