# The image of the workers and of every other `tidegate` command, from the pinned lock.
FROM python:3.11-slim AS build
WORKDIR /build
RUN python -m venv /venv
COPY requirements.lock ./
RUN /venv/bin/pip install --no-cache-dir --require-hashes -r requirements.lock
COPY pyproject.toml README.md ./
COPY topics topics
COPY detectors detectors
COPY classifiers classifiers
COPY pipeline pipeline
COPY replay replay
RUN /venv/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.11-slim
RUN useradd --create-home tidegate
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1
USER tidegate
WORKDIR /home/tidegate
ENTRYPOINT ["tidegate"]
CMD ["--help"]
