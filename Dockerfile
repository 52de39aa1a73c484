# An image with the daemon and nothing else: build it from a checkout, or copy the lines into your own.
FROM python:3.12-slim

COPY pyproject.toml README.md LICENSE /src/
COPY envd /src/envd
COPY envd_proto /src/envd_proto
COPY envd_sdk /src/envd_sdk
RUN pip install --no-cache-dir /src && rm -r /src

# Who starts it gives the access token: `docker run -e ENVD_ACCESS_TOKEN ...`, or a secret mounted with mode 0400 and
# `envd --access-token-file /run/secrets/token`. Without one, the first to call /init sets it.
EXPOSE 49983
CMD ["envd"]
