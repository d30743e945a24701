"""What is done with a trained run: pictures named, models exported."""
