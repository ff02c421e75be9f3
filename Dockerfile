# rtslib on the CPU. `docker build -t rtslib .` runs `make install`; `docker run` runs `make reproduce`, whose results
# stay where runs/ is mounted: docker run --rm -v "$PWD/runs:/rtslib/runs" rtslib
FROM python:3.12-slim-bookworm
RUN apt-get update \
    && apt-get install -y --no-install-recommends git make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /rtslib
COPY . .
RUN git config --system --add safe.directory /rtslib && make install
ENV PATH="/rtslib/.venv/bin:$PATH"
CMD ["make", "reproduce"]
