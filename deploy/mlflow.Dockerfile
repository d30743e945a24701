# MLflow's server with support for users, PostgreSQL and S3; versions are those of the tests.
FROM python:3.11.14-slim-bookworm
COPY constraints.txt /tmp/
RUN pip install --no-cache-dir --constraint /tmp/constraints.txt \
    'mlflow[auth]' psycopg2-binary boto3 && rm /tmp/constraints.txt
COPY deploy/with-secrets.sh deploy/make_bucket.py deploy/basic_auth.ini /deploy/
# Nothing in it needs to be root.
RUN useradd --system --create-home mlflow
USER mlflow
WORKDIR /home/mlflow
