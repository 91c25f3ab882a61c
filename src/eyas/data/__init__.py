"""Files to batches: readers, decoding, audit, splits, the store of prepared images, noise."""
