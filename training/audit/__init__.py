"""What is wrong with a data set, before minutes are spent on it."""
