"""Ways to question methods: each protocol shows something else about them."""
