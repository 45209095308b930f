# ptrain in an image. scripts/container builds, runs and tests it; docs/container.md explains it.
#
# CPU:  docker build -t ptrain .
# GPU:  docker build -t ptrain:gpu \
#           --build-arg BASE=docker.io/nvidia/cuda:13.0.2-runtime-ubuntu24.04 \
#           --build-arg BUILD_BASE=docker.io/nvidia/cuda:13.0.2-devel-ubuntu24.04 \
#           --build-arg GPU_OPERATIONS=NCCL --build-arg PTRAIN_TORCH_INDEX=default .

# Debian 12 or Ubuntu 24.04: a Python from 3.11 on. BUILD_BASE has the same system, and for GPUs nvcc and NCCL.
ARG BASE=docker.io/library/debian:bookworm-slim
ARG BUILD_BASE=${BASE}

# torch, the locked packages and MPI. There is no compiler here, so scripts/setup leaves Horovod to the next stage.
FROM ${BUILD_BASE} AS environment
ENV DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 \
    PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore \
    PTRAIN_VENV=/opt/ptrain/venv PTRAIN_CACHE=/opt/ptrain/cache
RUN apt-get update -qq \
    && apt-get install -qq -y --no-install-recommends python3 python3-venv openmpi-bin libopenmpi-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/ptrain/source
COPY requirements.lock requirements-tools.lock ./
COPY scripts/lib.sh scripts/setup scripts/build-horovod scripts/
# An empty project for scripts/setup; the real one comes last, so that a change of it does not build Horovod again.
RUN printf '[project]\nname = "ptrain"\nversion = "0"\n' >pyproject.toml && touch requirements-dev.lock requirements-formats.lock
# The index that torch is taken from; see scripts/setup --help.
ARG PTRAIN_TORCH_INDEX=
RUN PTRAIN_TORCH_INDEX="${PTRAIN_TORCH_INDEX}" scripts/setup --minimal

# Horovod, for that torch and that MPI.
FROM environment AS horovod
RUN apt-get update -qq \
    && apt-get install -qq -y --no-install-recommends g++ make python3-dev \
    && rm -rf /var/lib/apt/lists/*
# NCCL, MPI or none.
ARG GPU_OPERATIONS=none
# CUDA architectures, such as 80,90, for a build host without a GPU.
ARG CUDA_ARCHITECTURES=
RUN ${CUDA_ARCHITECTURES:+env HOROVOD_BUILD_CUDA_CC_LIST="$CUDA_ARCHITECTURES"} \
    scripts/build-horovod --with-mpi --with-gloo --gpu "${GPU_OPERATIONS}" --cxx g++

# ptrain's wheel, with its compiled kernels.
FROM horovod AS wheel
COPY pyproject.toml README.md ./
COPY slurm slurm
COPY ptrain ptrain
RUN /opt/ptrain/venv/bin/pip wheel -q --no-deps --no-build-isolation --wheel-dir /opt/ptrain/wheel . \
    && python3 -m zipfile --list /opt/ptrain/wheel/*.whl | grep -q 'native/_kernels.*\.so '

# What a run needs of it all: headers, build tools and the tests of other packages are left behind.
FROM horovod AS install
COPY requirements-dev.lock requirements-formats.lock ./
COPY --from=wheel /opt/ptrain/wheel /opt/ptrain/wheel
ARG GPU_OPERATIONS=none
# More formats of data and loggers, such as data,scenes: the optional dependencies of pyproject.toml.
ARG EXTRAS=
RUN venv=/opt/ptrain/venv wheel=$(echo /opt/ptrain/wheel/*.whl) \
    && "$venv/bin/pip" install -q --no-deps --force-reinstall "$wheel" \
    && if [ -n "$EXTRAS" ]; then "$venv/bin/pip" install -q -c requirements.lock -c requirements-formats.lock -c requirements-dev.lock "$wheel[$EXTRAS]"; fi \
    && "$venv/bin/python" -c "import sys, torch; \
cuda = torch.version.cuda; \
sys.exit(f'torch is a CUDA {cuda} build in an image for CPUs: build with --build-arg PTRAIN_TORCH_INDEX=URL of the CPU builds' \
    if cuda and '${GPU_OPERATIONS}' == 'none' else 0)" \
    && { "$venv/bin/pip" uninstall -q -y cmake wheel; "$venv/bin/pip" uninstall -q -y pip; } \
    && cd "$venv" && rm -rf .ptrain-* include lib/python3*/site-packages/torch/include lib/python3*/site-packages/torch/share \
    && find lib/python3*/site-packages/torch/bin -type f ! -name torch_shm_manager -delete \
    && find lib -type d \( -name tests -o -path '*/torch/test' \) -prune -exec rm -rf {} + \
    && find . -name '*.a' -delete \
    && find . ! -type l ! -perm -o=r -exec chmod a+rX {} +

# The image: no compiler, no caches, no root.
FROM ${BASE}
RUN apt-get update -qq \
    && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends python3 openmpi-bin tini \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/cache/apt/archives/*.deb /var/cache/debconf/*-old \
        /var/log/apt /var/log/dpkg.log /var/log/alternatives.log \
    && groupadd --gid 10001 ptrain \
    && useradd --uid 10001 --gid 10001 --no-log-init --no-create-home --home-dir /tmp --shell /bin/bash ptrain \
    && install -d -m 1777 /work /data
COPY --from=install /opt/ptrain/venv /opt/ptrain/venv
# Any user id may run it, also on a read-only root file system: what is written goes to /work and /tmp.
ENV PATH=/opt/ptrain/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    HOME=/tmp MPLCONFIGDIR=/tmp/matplotlib TORCHINDUCTOR_CACHE_DIR=/tmp/torchinductor \
    LC_ALL=C.UTF-8 PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PTRAIN_DATA=/data
# Does what was built elsewhere load here, as the user who will run it?
USER 10001:10001
WORKDIR /work
RUN python -c "import horovod.torch as hvd; from mpi4py import MPI; from ptrain.native import instruction_set; \
assert hvd.mpi_built() and hvd.gloo_built() and instruction_set()" \
    && ptrain --version
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="ptrain" \
    org.opencontainers.image.description="Data-parallel training of classifiers: the same bits on any number of ranks" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.documentation="docs/container.md"
# A job ends; there is no service whose health could be asked for, so there is no HEALTHCHECK.
# -s: also where it is not process 1, as with Apptainer and 'docker run --init'.
ENTRYPOINT ["tini", "-s", "--", "ptrain"]
CMD ["--help"]
