#!/bin/sh
# Draw the store's secrets into secrets/, readable by the owner alone; existing ones are kept.
set -eu
cd "$(dirname "$0")"
mkdir -p secrets
chmod 700 secrets
for name in database_password objects_secret_key admin_password flask_secret_key; do
  if [ ! -s "secrets/$name" ]; then
    # Letters and digits only: they need no quoting anywhere.
    LC_ALL=C tr -dc 'A-Za-z0-9' </dev/urandom | head -c 40 >"secrets/$name"
    # The services read them as users that do not exist outside their containers.
    chmod 444 "secrets/$name"
  fi
done
echo "secrets/ holds the store's secrets; keep it out of version control and back it up apart"
