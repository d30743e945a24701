# Container image of bench, for CPUs or, with --build-arg DEVICE=cuda, NVIDIA GPUs:
#   docker build --tag bench .
#   docker run --rm --volume "$PWD:/work" --user "$(id -u):$(id -g)" bench run --all
# With CUDA, add `--gpus all`; the host needs NVIDIA's driver and container toolkit, not CUDA.
ARG PYTHON=3.11
FROM python:${PYTHON}-slim-bookworm AS build
WORKDIR /source
COPY . .
RUN pip install --no-cache-dir build && python -m build --wheel --outdir /dist .

FROM python:${PYTHON}-slim-bookworm
ARG DEVICE=cpu
COPY constraints.txt /tmp/
# torch comes first, from its own index for CPUs; PyPI's wheels contain CUDA's libraries.
RUN case "$DEVICE" in \
      cpu) index=https://download.pytorch.org/whl/cpu ;; \
      cuda) index=https://pypi.org/simple ;; \
      *) echo "DEVICE is cpu or cuda, not $DEVICE" >&2; exit 2 ;; \
    esac \
    && pip install --no-cache-dir --constraint /tmp/constraints.txt --index-url "$index" torch torchvision
COPY --from=build /dist/*.whl /tmp/
RUN pip install --no-cache-dir --constraint /tmp/constraints.txt /tmp/*.whl && rm /tmp/*.whl
# Nothing in it needs to be root; caches of weights and settings go where any user can write.
RUN useradd --create-home bench && install --directory --mode 1777 /work /cache
ENV HOME=/cache PYTHONUNBUFFERED=1
USER bench
WORKDIR /work
ENTRYPOINT ["bench"]
CMD ["--help"]
