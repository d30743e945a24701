"""What is wrong with a data set: near-duplicates, suspected label errors, odd images."""
