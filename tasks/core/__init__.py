"""What every other module may use: errors, text, files, Arrow."""
