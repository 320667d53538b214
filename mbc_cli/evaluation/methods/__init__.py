"""What can be compared: each method takes in the same stream and answers the same questions."""
