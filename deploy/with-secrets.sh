#!/bin/sh
# Export the mounted secrets to the environment of one command, and execute it.
# Usage: with-secrets.sh COMMAND ARGUMENTS…; SECRETS names the folder, /run/secrets without.
set -eu
folder="${SECRETS:-/run/secrets}"

take() { # variable, file: a command that needs no such secret was not given the file
  if [ -f "$folder/$2" ]; then
    value="$(cat "$folder/$2")"
    export "$1=$value"
  fi
}

take PGPASSWORD database_password
take AWS_SECRET_ACCESS_KEY objects_secret_key
take MLFLOW_AUTH_ADMIN_PASSWORD admin_password
take MLFLOW_FLASK_SERVER_SECRET_KEY flask_secret_key
unset value
exec "$@"
