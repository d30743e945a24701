"""Comment on a pull request with a report or a comparison; the steps of `action.yml`."""
