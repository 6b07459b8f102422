# The tested set (requirements-lock.txt: Python 3.11, x86-64, PyTorch for CUDA 13.0, which needs a driver of 580 or newer).
#
#   docker build -t aesipe .
#   mkdir -p store                                                  # made by Docker it would be root's
#   docker run --rm --gpus all --ipc=host -v "$PWD/store:/data" aesipe                    # the demo
#   docker run --rm --gpus all --ipc=host -v "$PWD/store:/data" aesipe configs/voc12_resnet101.yaml \
#       common.dataset_root=/data/VOC2012 common.run_root=/data/runs
#
# An older driver: --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu126 (docs/gpu.md); without a GPU: no --gpus all.
# Data sets, runs and downloaded weights lie in /data. The user is number 1000: of a folder that another user owns, give
# --user "$(id -u):$(id -g)".
FROM python:3.11-slim-bookworm

# The compiler builds the dense CRF now, and what torch.compile asks for later.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /aesipe
COPY requirements.txt requirements-lock.txt ./
ARG TORCH_INDEX=
RUN if [ -n "$TORCH_INDEX" ]; then \
        python -m pip install --no-cache-dir "torch==2.11.*" "torchvision==0.26.*" --index-url "$TORCH_INDEX" \
        && python -m pip install --no-cache-dir -r requirements.txt; \
    else \
        python -m pip install --no-cache-dir --require-hashes -r requirements-lock.txt; \
    fi
COPY . .

RUN useradd --uid 1000 --no-create-home aesipe && install --directory --owner=aesipe /data
USER 1000
ENV HOME=/data TORCH_HOME=/data/torch MPLCONFIGDIR=/tmp/matplotlib TORCHINDUCTOR_CACHE_DIR=/tmp/inductor PYTHONDONTWRITEBYTECODE=1
VOLUME /data
ENTRYPOINT ["bash", "run_pipeline.sh"]
CMD ["configs/demo.yaml", "common.dataset_root=/data/toy", "common.run_root=/data/runs"]
