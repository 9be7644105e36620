"""Networks from published weights, whose file says what it is; the images that they take."""
