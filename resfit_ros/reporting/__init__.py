"""What people are shown of an evaluation: words, figure, film strips, one page."""
