# The server in a container, without Gradio, PyTorch, training code or build tools. It serves an exported
# artifact (`python -m inference export`); one that was not exported needs PyTorch, see requirements-serve.txt.
#
#   docker build -t tweettune .
#   docker run --rm -p 8080:8080 -v "$PWD/runs/demo/artifact:/model:ro" tweettune
#   docker run --rm -p 8080:8080 -e MODEL=owner/name tweettune
#
# MODEL may name several (NAME=FOLDER …). Options of `python -m inference serve` go behind the image's name, and
# TWEETTUNE_TOKENS holds the tokens that open it. It is answered by address and as localhost; other names by which
# it is asked, such as a service's, stand in TWEETTUNE_ALLOWED_HOSTS.
FROM python:3.11.14-slim-bookworm

ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="TweetTune" \
      org.opencontainers.image.description="Serves a classifier of tweets that TweetTune has fine-tuned" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="Apache-2.0"

# A number, not a name, so that Kubernetes can check `runAsNonRoot`.
RUN groupadd --gid 1000 tweettune \
    && useradd --uid 1000 --gid 1000 --create-home --shell /usr/sbin/nologin tweettune

WORKDIR /app
COPY requirements-serve.txt ./
RUN pip install --no-cache-dir --only-binary=:all: -r requirements-serve.txt
COPY LICENSE ./
COPY inference/ inference/

# The code is root's and read-only to the server. Models of the Hub go to the user's cache: mount a volume
# there to keep them. OMP_WAIT_POLICY: idle threads sleep and leave the cores to the others.
ENV MODEL=/model \
    PORT=8080 \
    HF_HOME=/home/tweettune/.cache/huggingface \
    OMP_WAIT_POLICY=PASSIVE \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1

USER 1000:1000
EXPOSE 8080

# Loading a model takes seconds, fetching one from the Hub minutes: /readyz says no until it is warm.
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ['PORT'] + '/readyz', timeout=4)"]

# The exec form, so that SIGTERM reaches the server: it answers what it has accepted, then stops.
STOPSIGNAL SIGTERM
ENTRYPOINT ["python", "-m", "inference", "serve", "--host", "0.0.0.0"]
