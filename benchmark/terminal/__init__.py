"""What a person sees while bench works: tables, plain lines, and the live table of a study."""
